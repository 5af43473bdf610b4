{{- /*
Labels. The selector (component, app, release) is immutable and upstream's; what else an object carries may change.
Each takes (list ROOT COMPONENT).
*/ -}}

{{- define "jupyterhub.app" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "jupyterhub.selector" -}}
{{- $root := index . 0 -}}
component: {{ index . 1 }}
app: {{ include "jupyterhub.app" $root }}
release: {{ $root.Release.Name }}
{{- end }}

{{- define "jupyterhub.podLabels" -}}
{{- $root := index . 0 -}}
{{ include "jupyterhub.selector" . }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/name: {{ include "jupyterhub.app" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- end }}

{{- define "jupyterhub.labels" -}}
{{- $root := index . 0 -}}
{{- $chart := printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_") -}}
{{ include "jupyterhub.podLabels" . }}
chart: {{ $chart }}
heritage: {{ $root.Release.Service }}
helm.sh/chart: {{ $chart }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- end }}
