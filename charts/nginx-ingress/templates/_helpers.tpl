{{- define "nginx-ingress.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "nginx-ingress.controller" -}}
{{ include "nginx-ingress.fullname" . }}-{{ .Values.controller.name }}
{{- end }}

{{- define "nginx-ingress.defaultBackend" -}}
{{ include "nginx-ingress.fullname" . }}-{{ .Values.defaultBackend.name }}
{{- end }}

{{- /* The immutable selector: (list ROOT COMPONENT). */ -}}
{{- define "nginx-ingress.selector" -}}
app: {{ (index . 0).Values.nameOverride | default (index . 0).Chart.Name }}
component: {{ index . 1 | quote }}
release: {{ (index . 0).Release.Name }}
{{- end }}

{{- define "nginx-ingress.labels" -}}
{{- $root := index . 0 -}}
{{ include "nginx-ingress.selector" . }}
chart: {{ printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_") }}
heritage: {{ $root.Release.Service }}
{{- end }}

{{- define "nginx-ingress.namespace" -}}
{{- .Values.controller.scope.namespace | default .Release.Namespace -}}
{{- end }}

{{- /* An image: (list ROOT OWN FALLBACK): the component's own key, else global.images.FALLBACK. A tag that is a digest joins by @. */ -}}
{{- define "nginx-ingress.image" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
{{- $shared := get (($root.Values.global).images | default dict) (index . 2) | default dict -}}
{{- $image := ternary $own $shared (not (empty $own.name)) -}}
{{- $name := required (printf "no image: set global.images.%s, or the component's own image.name" (index . 2)) $image.name -}}
{{- $tag := $image.tag | default "latest" | toJson | trimAll "\"" -}}
{{- $name }}{{ ternary "@" ":" (hasPrefix "sha256:" $tag) }}{{ $tag -}}
{{- end }}

{{- /* What an operator may say of a Service, its ports apart. */ -}}
{{- define "nginx-ingress.serviceSpec" -}}
{{- with .type }}
type: {{ . }}
{{- end }}
{{- range $field := list "clusterIP" "loadBalancerIP" "loadBalancerSourceRanges" "externalIPs" "externalTrafficPolicy" "healthCheckNodePort" }}
{{- with get $ $field }}
{{ $field }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "nginx-ingress.pullSecrets" -}}
{{- with .pullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ ternary . (get (ternary dict . (kindIs "string" .)) "name") (kindIs "string" .) }}
  {{- end }}
{{- end -}}
{{- end }}
