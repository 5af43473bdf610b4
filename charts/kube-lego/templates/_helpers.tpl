{{- define "kube-lego.fullname" -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "kube-lego.selector" -}}
app: {{ .Chart.Name }}
release: {{ .Release.Name }}
{{- end }}

{{- define "kube-lego.labels" -}}
{{ include "kube-lego.selector" . }}
chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
heritage: {{ .Release.Service }}
{{- end }}

{{- /* A tag that is a digest joins by @. */ -}}
{{- define "kube-lego.image" -}}
{{- $shared := ((.Values.global).images).platform | default dict -}}
{{- $image := ternary .Values.image $shared (not (empty .Values.image.name)) -}}
{{- $name := required "no image: set global.images.platform, or image.name" $image.name -}}
{{- $tag := $image.tag | default "latest" | toJson | trimAll "\"" -}}
{{- $name }}{{ ternary "@" ":" (hasPrefix "sha256:" $tag) }}{{ $tag -}}
{{- end }}

{{- define "kube-lego.account" -}}
{{ ternary (include "kube-lego.fullname" .) .Values.rbac.serviceAccountName .Values.rbac.create }}
{{- end }}

{{- define "kube-lego.machine" -}}
{{ ((.Values.global).machine) | default dict | toYaml }}
{{- end }}

{{- /* What the controller reads and writes in the namespaces that it serves. */ -}}
{{- define "kube-lego.rules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, create, patch, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- define "kube-lego.check" -}}
{{- $default := .Values.defaultIssuer -}}
{{- $known := .Values.issuers | default dict -}}
{{- if and $default (not (hasKey $known $default)) -}}
{{- fail (printf "chart kube-lego: defaultIssuer %s is refused: issuers declares %s" $default (keys $known | sortAlpha | join ", " | default "none")) -}}
{{- end -}}
{{- if and (not $default) (empty .Values.config.LEGO_EMAIL) -}}
{{- fail "chart kube-lego: config.LEGO_EMAIL is missing: a role's address that the CA may write to, or set defaultIssuer" -}}
{{- end -}}
{{- if not (hasPrefix "https://" .Values.config.LEGO_URL) -}}
{{- fail "chart kube-lego: config.LEGO_URL is refused: it is not the https:// address of an ACME directory" -}}
{{- end -}}
{{- if contains "acme-v01" .Values.config.LEGO_URL -}}
{{- fail "chart kube-lego: config.LEGO_URL is refused: ACME v1 was shut down in 2021; use https://acme-v02.api.letsencrypt.org/directory" -}}
{{- end -}}
{{- end }}
