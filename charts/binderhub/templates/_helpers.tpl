{{- /* The labels that upstream's objects of this chart carry: (list ROOT COMPONENT). */ -}}
{{- define "binderhub.labels" -}}
{{- $root := index . 0 -}}
app: binder
component: {{ index . 1 }}
release: {{ $root.Release.Name }}
chart: {{ printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_") }}
heritage: {{ $root.Release.Service }}
{{- end }}

{{- /* An image: (list ROOT OWN FALLBACK): the component's own key, else global.images.FALLBACK. A tag that is a digest joins by @. */ -}}
{{- define "binderhub.image" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
{{- $shared := get (($root.Values.global).images | default dict) (index . 2) | default dict -}}
{{- $image := ternary $own $shared (not (empty $own.name)) -}}
{{- $name := required (printf "no image: set global.images.%s, or the component's own image.name" (index . 2)) $image.name -}}
{{- $tag := $image.tag | default "latest" | toJson | trimAll "\"" -}}
{{- $name }}{{ ternary "@" ":" (hasPrefix "sha256:" $tag) }}{{ $tag -}}
{{- end }}

{{- define "binderhub.pullSecrets" -}}
{{- with .pullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ ternary . (get (ternary dict . (kindIs "string" .)) "name") (kindIs "string" .) }}
  {{- end }}
{{- end -}}
{{- end }}

{{- /* extraEnv in any of its forms, as a list of EnvVars: a map NAME: string, a map NAME: {value or valueFrom}, a list. */ -}}
{{- define "binderhub.env" -}}
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

{{- /* What stands before the object names of the jupyterhub chart below this one. */ -}}
{{- define "binderhub.hubPrefix" -}}
{{- $jupyterhub := .Values.jupyterhub -}}
{{- if not (kindIs "invalid" $jupyterhub.fullnameOverride) -}}
{{- with $jupyterhub.fullnameOverride }}{{ . }}-{{ end -}}
{{- else -}}
{{- $chart := $jupyterhub.nameOverride | default "jupyterhub" -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) }}-
{{- end -}}
{{- end }}

{{- /* A path that something is served below, as programs take it: with a slash at each end. */ -}}
{{- define "binderhub.path" -}}
/{{ with . | default "" | trimAll "/" }}{{ . }}/{{ end }}
{{- end }}

{{- /* The address of a host as browsers see it, from the public ports in `global`: (list ROOT HOST), with a slash at its end. */ -}}
{{- define "binderhub.publicUrl" -}}
{{- $global := (index . 0).Values.global | default dict -}}
{{- $tls := int ($global.publicTlsPort | default 0) -}}
{{- $port := int ($global.publicPort | default 80) -}}
{{- if $tls -}}
https://{{ index . 1 }}{{ if ne $tls 443 }}:{{ $tls }}{{ end }}/
{{- else -}}
http://{{ index . 1 }}{{ if ne $port 80 }}:{{ $port }}{{ end }}/
{{- end -}}
{{- end }}

{{- /* config with the addresses that follow from the rest, where they are not given. */ -}}
{{- define "binderhub.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $binder := $config.BinderHub | default dict -}}
{{- $hub := include "binderhub.path" .Values.jupyterhub.hub.baseUrl -}}
{{- $_ := set $binder "base_url" (include "binderhub.path" $binder.base_url) -}}
{{- if not $binder.hub_url -}}
{{- with (.Values.global).domain -}}
{{- $_ := set $binder "hub_url" (print (include "binderhub.publicUrl" (list $ (printf "hub.%s" .))) (trimPrefix "/" $hub)) -}}
{{- end -}}
{{- end -}}
{{- if not $binder.hub_url_local -}}
{{- $_ := set $binder "hub_url_local" (printf "http://%sproxy-public%s" (include "binderhub.hubPrefix" .) $hub) -}}
{{- end -}}
{{- $_ := set $config "BinderHub" $binder -}}
{{- /* A null in an environment's file takes a trait, or an entry of its map, away; Helm leaves it standing below a subchart. */ -}}
{{- range $class, $traits := $config -}}
{{- range $trait, $value := ternary $traits dict (kindIs "map" $traits) -}}
{{- if kindIs "invalid" $value }}{{ $_ := unset $traits $trait }}{{ end -}}
{{- if kindIs "map" $value -}}
{{- range $key := keys $value -}}
{{- if kindIs "invalid" (get $value $key) }}{{ $_ := unset $value $key }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{- define "binderhub.registryName" -}}
registry.{{ .Release.Namespace }}.svc:5000
{{- end }}

{{- /* `auths` of a docker config.json for the operator's own registry: empty without a password. */ -}}
{{- define "binderhub.ownRegistryAuths" -}}
{{- $auths := dict -}}
{{- $url := .Values.registry.url | default "" -}}
{{- $username := .Values.registry.username | default (ternary "_json_key" "<token>" (regexMatch "(^|//)([a-z0-9-]+\\.)?gcr\\.io" $url)) -}}
{{- $isUsed := dig "BinderHub" "use_registry" true .Values.config -}}
{{- if and $url .Values.registry.password $isUsed -}}
{{- $_ := set $auths $url (dict "auth" (printf "%s:%s" $username .Values.registry.password | b64enc)) -}}
{{- end -}}
{{- toJson $auths -}}
{{- end }}

{{- /* Base64 text of one key of a Secret that is generated once: (list ROOT SECRET KEY), "" where it does not exist yet. */ -}}
{{- define "binderhub.live" -}}
{{- $live := (lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1)).data | default dict -}}
{{- get $live (index . 2) -}}
{{- end }}

{{- /* data and stringData of extraFiles by their keys. */ -}}
{{- define "binderhub.extraFileData" -}}
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
