{{- define "mybinder.privateRanges" -}}
["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
{{- end }}

{{- /* What no rule to the outside opens: private ranges, shared address space (RFC 6598: carriers, VPNs, some clouds' pods
     and metadata), link-local addresses, networks of test benches (RFC 2544; VPNs use them, too), and what is nobody's; and where clouds answer about a machine
     outside these: Azure's 168.63.129.16, Oracle's 192.0.0.192 (IETF protocol assignments, RFC 6890). */ -}}
{{- define "mybinder.closedRanges" -}}
{{- concat (include "mybinder.privateRanges" . | fromJsonArray) (list "100.64.0.0/10" "168.63.129.16/32" "169.254.0.0/16" "192.0.0.0/24" "198.18.0.0/15" "240.0.0.0/4") | toJson -}}
{{- end }}

{{- /* An IPv4 range as two numbers, its first address and how many it holds: JSON [first, size]. */ -}}
{{- define "mybinder.range" -}}
{{- $parts := splitList "/" . -}}
{{- $first := 0 -}}
{{- range splitList "." (index $parts 0) -}}
{{- $first = add (mul $first 256) (int64 .) -}}
{{- end -}}
{{- $size := 1 -}}
{{- range until (int (sub 32 (int (index $parts 1)))) -}}
{{- $size = mul $size 2 -}}
{{- end -}}
[{{ sub $first (mod $first $size) }}, {{ $size }}]
{{- end }}

{{- /* "true" where the range INNER lies in the range OUTER and is smaller: (list INNER OUTER). Kubernetes wants this of `except`. */ -}}
{{- define "mybinder.inside" -}}
{{- $inner := include "mybinder.range" (index . 0) | fromJsonArray -}}
{{- $outer := include "mybinder.range" (index . 1) | fromJsonArray -}}
{{- $first := int64 (index $inner 0) -}}
{{- $start := int64 (index $outer 0) -}}
{{- if and (lt (int64 (index $inner 1)) (int64 (index $outer 1))) (ge $first $start) (lt $first (add $start (int64 (index $outer 1)))) -}}true{{- end -}}
{{- end }}

{{- /* The egress rule to the outside, from `binderhub.networkPolicy.egress`: tcpPorts at cidr, without what is closed or
     banned in it; none where all of it is banned. */ -}}
{{- define "mybinder.egressOutside" -}}
{{- $cidr := .cidr -}}
{{- $except := list -}}
{{- range include "mybinder.closedRanges" . | fromJsonArray -}}
{{- if include "mybinder.inside" (list . $cidr) }}{{ $except = append $except . }}{{ end -}}
{{- end -}}
{{- $ports := .tcpPorts -}}
{{- range $name, $banned := .bannedIps -}}
{{- range $banned -}}
{{- $range := ternary . (printf "%s/32" .) (contains "/" .) -}}
{{- if include "mybinder.inside" (list $range $cidr) -}}
{{- $except = append $except $range | uniq -}}
{{- else if or (include "mybinder.inside" (list $cidr $range)) (eq (include "mybinder.range" $cidr) (include "mybinder.range" $range)) -}}
{{- $ports = list -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $ports -}}
- to:
    - ipBlock:
        cidr: {{ $cidr }}
        {{- with $except }}
        except: {{ toJson . }}
        {{- end }}
  ports:
    {{- range . }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}
{{- end }}

{{- /* The egress rules to hosts at private addresses that the operator names. */ -}}
{{- define "mybinder.egressInternal" -}}
{{- $egress := . -}}
{{- range .internalHosts }}
- to:
    - ipBlock: {cidr: {{ .cidr }}}
  ports:
    {{- range .ports | default $egress.tcpPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}
{{- end }}
