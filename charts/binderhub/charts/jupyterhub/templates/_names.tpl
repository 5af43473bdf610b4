{{- /*
Object names. One table (jupyterhub.names) serves the templates and, by the ConfigMap hub, z2jh.get_name in the hub, so
that code in hub.extraConfig finds objects whatever fullnameOverride says.
*/ -}}

{{- /* fullnameOverride "": bare names; a string: that; null (the key is gone): RELEASE-jupyterhub. */ -}}
{{- define "jupyterhub.fullname" -}}
{{- if not (kindIs "invalid" .Values.fullnameOverride) -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $chart := .Values.nameOverride | default .Chart.Name -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- end -}}
{{- end }}

{{- /* hub.baseUrl as the hub itself takes it: with a slash at each end. */ -}}
{{- define "jupyterhub.baseUrl" -}}
/{{ with .Values.hub.baseUrl | default "" | trimAll "/" }}{{ . }}/{{ end }}
{{- end }}

{{- define "jupyterhub.names" -}}
{{- $full := include "jupyterhub.fullname" . -}}
{{- $dash := ternary (printf "%s-" $full) "" (ne $full "") -}}
{{- /* Objects without a namespace always carry the release's name: two releases share a cluster. */ -}}
{{- $cluster := ternary (printf "%s-" $full) (printf "%s-" .Release.Name) (ne $full "") -}}
fullname: {{ $full | quote }}
fullname-dash: {{ $dash | quote }}
hub: {{ $dash }}hub
hub-serviceaccount: {{ .Values.hub.serviceAccount.name | default (printf "%shub" $dash) }}
hub-existing-secret: {{ .Values.hub.existingSecret | default "" | quote }}
hub-existing-secret-or-default: {{ .Values.hub.existingSecret | default (printf "%shub" $dash) }}
hub-pvc: {{ $dash }}hub-db-dir
proxy: {{ $dash }}proxy
proxy-api: {{ $dash }}proxy-api
proxy-http: {{ $dash }}proxy-http
proxy-public: {{ $dash }}proxy-public
proxy-public-tls: {{ $dash }}proxy-public-tls-acme
proxy-public-manual-tls: {{ $dash }}proxy-public-manual-tls
autohttps: {{ $dash }}autohttps
autohttps-serviceaccount: {{ $dash }}autohttps
user-scheduler-deploy: {{ $dash }}user-scheduler
user-scheduler-serviceaccount: {{ $dash }}user-scheduler
user-scheduler-lock: {{ $dash }}user-scheduler-lock
user-placeholder: {{ $dash }}user-placeholder
image-puller-priority: {{ $cluster }}image-puller-priority
hook-image-awaiter: {{ $dash }}hook-image-awaiter
hook-image-awaiter-serviceaccount: {{ $dash }}hook-image-awaiter
hook-image-puller: {{ $dash }}hook-image-puller
hook-image-puller-serviceaccount: {{ $dash }}hook-image-puller
continuous-image-puller: {{ $dash }}continuous-image-puller
continuous-image-puller-serviceaccount: {{ $dash }}continuous-image-puller
singleuser: {{ $dash }}singleuser
image-pull-secret: {{ $dash }}image-pull-secret
ingress: {{ ternary $full "jupyterhub" (ne $full "") }}
priority: {{ $cluster }}default-priority
user-placeholder-priority: {{ $cluster }}user-placeholder-priority
user-scheduler: {{ $cluster }}user-scheduler
{{- end }}

{{- /* One name: include "jupyterhub.name" (list . "hub-pvc"). */ -}}
{{- define "jupyterhub.name" -}}
{{- $names := include "jupyterhub.names" (index . 0) | fromYaml -}}
{{- required (printf "no name is called %s" (index . 1)) (get $names (index . 1)) -}}
{{- end }}
