{{- /* An image: (list ROOT OWN FALLBACK): the component's own key, else global.images.FALLBACK. A tag that is a digest joins by @. */ -}}
{{- define "jupyterhub.image" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
{{- $shared := get (($root.Values.global).images | default dict) (index . 2) | default dict -}}
{{- $image := ternary $own $shared (not (empty $own.name)) -}}
{{- $name := required (printf "no image: set global.images.%s, or the component's own image.name" (index . 2)) $image.name -}}
{{- $tag := $image.tag | default "latest" | toJson | trimAll "\"" -}}
{{- $name }}{{ ternary "@" ":" (hasPrefix "sha256:" $tag) }}{{ $tag -}}
{{- end }}

{{- /* imagePullSecrets of one component: (list ROOT OWN). */ -}}
{{- define "jupyterhub.pullSecrets" -}}
{{- $names := list -}}
{{- range concat ((index . 0).Values.imagePullSecrets | default list) ((index . 1).pullSecrets | default list) -}}
{{- $names = append $names (dict "name" (ternary . (get (ternary dict . (kindIs "string" .)) "name") (kindIs "string" .))) -}}
{{- end -}}
{{- if $names -}}
imagePullSecrets:
  {{- uniq $names | toYaml | nindent 2 }}
{{- end -}}
{{- end }}

{{- /* extraEnv in any of its forms, as a list of EnvVars: a map NAME: string, a map NAME: {value or valueFrom}, a list. */ -}}
{{- define "jupyterhub.env" -}}
{{- if kindIs "slice" . -}}
{{- range . }}
- {{ toYaml . | nindent 2 | trim }}
{{- end -}}
{{- else -}}
{{- range $name, $value := . }}
{{- if not (kindIs "invalid" $value) }}
- name: {{ $name | quote }}
  {{- if kindIs "map" $value }}
  {{- omit $value "name" | toYaml | nindent 2 }}
  {{- else }}
  value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}
  {{- end }}
{{- end }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* A probe's numbers: (list PROBE PATH PORT). */ -}}
{{- define "jupyterhub.probe" -}}
{{- omit (index . 0) "enabled" | toYaml }}
httpGet:
  path: {{ index . 1 }}
  port: {{ index . 2 }}
{{- end }}

{{- /* The addresses of a Service: ipFamilyPolicy and ipFamilies. */ -}}
{{- define "jupyterhub.ipFamilies" -}}
{{- with .ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .ipFamilies }}
ipFamilies: {{ toJson . }}
{{- end }}
{{- end }}

{{- /* A secret value: {root, key, given, generated}: what is given, else what the live Secret hub has, else a new one. */ -}}
{{- define "jupyterhub.secretValue" -}}
{{- $live := (lookup "v1" "Secret" .root.Release.Namespace (include "jupyterhub.name" (list .root "hub"))).data | default dict -}}
{{- if .given -}}
{{- .given -}}
{{- else if hasKey $live .key -}}
{{- index $live .key | b64dec -}}
{{- else -}}
{{- .generated -}}
{{- end -}}
{{- end }}

{{- /* Node affinity of the core pods (hub, proxy). */ -}}
{{- define "jupyterhub.coreAffinity" -}}
{{- $purpose := .Values.scheduling.corePods.nodeAffinity.matchNodePurpose -}}
{{- if ne $purpose "ignore" -}}
affinity:
  nodeAffinity:
    {{- if eq $purpose "require" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - {key: hub.jupyter.org/node-purpose, operator: In, values: [core]}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        preference:
          matchExpressions:
            - {key: hub.jupyter.org/node-purpose, operator: In, values: [core]}
    {{- end }}
{{- end -}}
{{- end }}

{{- /* The path below which files of hub.extraFiles or singleuser.extraFiles are stored in their Secret. */ -}}
{{- define "jupyterhub.extraFileData" -}}
{{- range $key, $file := . }}
{{- if $file.stringData }}
{{ $key }}: {{ $file.stringData | b64enc | quote }}
{{- else if $file.binaryData }}
{{ $key }}: {{ $file.binaryData | replace "\n" "" | quote }}
{{- else if $file.data }}
{{- $format := splitList "." $file.mountPath | last }}
{{- if has $format (list "yaml" "yml") }}
{{ $key }}: {{ $file.data | toYaml | b64enc | quote }}
{{- else if eq $format "toml" }}
{{ $key }}: {{ $file.data | toToml | b64enc | quote }}
{{- else }}
{{ $key }}: {{ $file.data | toJson | b64enc | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
