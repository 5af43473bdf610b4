{{- /* Where other namespaces may come in too: (list POLICY LABELS...). One peer for each label. */ -}}
{{- define "jupyterhub.accessPeer" -}}
{{- $policy := index . 0 -}}
- podSelector:
    matchLabels:
      hub.jupyter.org/network-access-{{ index . 1 }}: "true"
  {{- if eq $policy.interNamespaceAccessLabels "accept" }}
  namespaceSelector: {}
  {{- end }}
{{- end }}

{{- /* Ports that are open to everybody, then the policy's own rules, of one policy. */ -}}
{{- define "jupyterhub.ingressRules" -}}
{{- with .allowedIngressPorts }}
- ports:
    {{- range . }}
    - port: {{ . }}
    {{- end }}
{{- end }}
{{- with .ingress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The rules that egressAllowRules switch, then the policy's own: (list ROOT POLICY). */ -}}
{{- define "jupyterhub.egressRules" -}}
{{- $root := index . 0 -}}
{{- $policy := index . 1 -}}
{{- $metadata := printf "%s/32" $root.Values.singleuser.cloudMetadata.ip -}}
{{- $private := list "10.0.0.0/8" "172.16.0.0/12" "192.168.0.0/16" -}}
{{- $dns := "[{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]" -}}
{{- with $policy.egressAllowRules }}
{{- if .dnsPortsCloudMetadataServer }}
- to:
    - ipBlock: {cidr: {{ $metadata }}}
  ports: {{ $dns }}
{{- end }}
{{- if .dnsPortsKubeSystemNamespace }}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
  ports: {{ $dns }}
{{- end }}
{{- if .dnsPortsPrivateIPs }}
- to:
    {{- range $private }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  ports: {{ $dns }}
{{- end }}
{{- if .nonPrivateIPs }}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: {{ append $private $metadata | toJson }}
{{- end }}
{{- if .privateIPs }}
- to:
    {{- range $private }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
{{- end }}
{{- if .cloudMetadataServer }}
- to:
    - ipBlock: {cidr: {{ $metadata }}}
{{- end }}
{{- end }}
{{- with $policy.egress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Egress to pods of one component at one port: (list ROOT COMPONENT PORT). */ -}}
{{- define "jupyterhub.egressTo" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "jupyterhub.selector" (list (index . 0) (index . 1)) | nindent 10 }}
  ports:
    {{- range rest (rest .) }}
    - port: {{ . }}
    {{- end }}
{{- end }}
