{{- /* The host that a redirect comes from: a name without a dot stands below the environment's domain. (list ROOT NAME) */ -}}
{{- define "redirector.host" -}}
{{- $root := index . 0 -}}
{{- if contains "." (index . 1) -}}
{{- index . 1 -}}
{{- else -}}
{{- printf "%s.%s" (index . 1) (required "redirector: a host without a dot needs global.domain" $root.Values.global.domain) -}}
{{- end -}}
{{- end }}

{{- /* Where it goes: a whole address, or HOST[:PORT][/PATH] after its scheme; none is the binder itself. (list ROOT REDIRECT) */ -}}
{{- define "redirector.target" -}}
{{- $root := index . 0 -}}
{{- $redirect := index . 1 -}}
{{- $to := $redirect.host.to | default "" -}}
{{- if not $to -}}
{{- $redirect.scheme | default (include "mybinder.scheme" $root) }}://{{ include "mybinder.authority" $root -}}
{{- else if regexMatch "^https?://" $to -}}
{{- $to -}}
{{- else -}}
{{- $redirect.scheme | default "https" }}://{{ $to -}}
{{- end -}}
{{- end }}
