{{- /* The labels of extra software in this chart: (list ROOT APP). Its selector is {app, component: nginx, release}. */ -}}
{{- define "mybinder.selector" -}}
app: {{ index . 1 }}
component: nginx
release: {{ (index . 0).Release.Name }}
{{- end }}

{{- define "mybinder.labels" -}}
{{ include "mybinder.selector" . }}
heritage: {{ (index . 0).Release.Service }}
{{- end }}

{{- /* An image: (list ROOT OWN NAME): the component's own key, else global.images.NAME, else (an image of the operator's that is
not locked yet) NAME as this machine builds it. A tag that is a digest joins by @. */ -}}
{{- define "mybinder.image" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 | default dict -}}
{{- $shared := get (($root.Values.global).images | default dict) (index . 2) | default dict -}}
{{- $image := ternary $own $shared (not (empty $own.name)) -}}
{{- $unlocked := ternary "" (printf "localhost/binderops/%s" (index . 2)) (hasKey (($root.Values.global).images | default dict) (index . 2)) -}}
{{- $name := required (printf "no image: set global.images.%s, or the component's own image.name" (index . 2)) ($image.name | default $unlocked) -}}
{{- $tag := $image.tag | default "latest" | toJson | trimAll "\"" -}}
{{- $name }}{{ ternary "@" ":" (hasPrefix "sha256:" $tag) }}{{ $tag -}}
{{- end }}

{{- /* The meta chart's own, and one component's: (list ROOT OWN). */ -}}
{{- define "mybinder.pullSecrets" -}}
{{- with concat ((index . 0).Values.imagePullSecrets | default list) ((index . 1).pullSecrets | default list) -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ ternary . (get (ternary dict . (kindIs "string" .)) "name") (kindIs "string" .) }}
  {{- end }}
{{- end -}}
{{- end }}

{{- /* HOST:PORT of the binder as browsers see it. */ -}}
{{- define "mybinder.authority" -}}
{{- $tls := int (.Values.global.publicTlsPort | default 0) -}}
{{- $port := ternary $tls (int (.Values.global.publicPort | default 80)) (gt $tls 0) -}}
{{- .Values.global.domain }}{{ if ne $port (ternary 443 80 (gt $tls 0)) }}:{{ $port }}{{ end -}}
{{- end }}

{{- define "mybinder.scheme" -}}
{{- ternary "https" "http" (gt (int (.Values.global.publicTlsPort | default 0)) 0) -}}
{{- end }}

{{- /* An nginx that serves one ConfigMap's nginx.conf: {root, app, values, files, checksum}. */ -}}
{{- define "mybinder.nginx" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .app }}
  labels:
    {{- include "mybinder.labels" (list $root .app) | nindent 4 }}
spec:
  replicas: 1
  selector:
    matchLabels:
      {{- include "mybinder.selector" (list $root .app) | nindent 6 }}
  strategy:
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  template:
    metadata:
      labels:
        {{- include "mybinder.labels" (list $root .app) | nindent 8 }}
      annotations:
        checksum/config: {{ .checksum }}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- with .values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      hostUsers: {{ ($root.Values.global).hostUsers | default false }}  # root of no pod is the machine's
      securityContext:
        runAsNonRoot: true
        seccompProfile: {type: RuntimeDefault}
      {{- with include "mybinder.pullSecrets" (list $root .values.image) }}
      {{- . | nindent 6 }}
      {{- end }}
      containers:
        - name: nginx
          image: {{ include "mybinder.image" (list $root .values.image "platform") }}
          imagePullPolicy: {{ .values.image.pullPolicy | default "IfNotPresent" }}
          args: [nginx, -e, stderr, -c, /etc/{{ .app }}/nginx.conf, -g, "daemon off;"]
          ports:
            - {name: http, containerPort: 8080}
          volumeMounts:
            - {name: config, mountPath: /etc/{{ .app }}, readOnly: true}
            {{- with .files }}
            - {name: files, mountPath: /srv/static, readOnly: true}
            {{- end }}
            - {name: tmp, mountPath: /tmp}
          resources:
            requests: {cpu: 10m, memory: 16Mi}
          securityContext:
            runAsUser: 1000
            runAsGroup: 1000
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          livenessProbe:
            tcpSocket: {port: http}
            initialDelaySeconds: 5
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            tcpSocket: {port: http}
            periodSeconds: 1
            timeoutSeconds: 3
            failureThreshold: 60
      volumes:
        - name: config
          configMap: {name: {{ .app }}-config}
        {{- with .files }}
        - name: files
          configMap: {name: {{ . }}}
        {{- end }}
        - name: tmp
          emptyDir: {}
{{- end }}

{{- /* The http block that every nginx here begins with: unprivileged, quiet, nothing written outside /tmp. */ -}}
{{- define "mybinder.nginxHead" -}}
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  server_tokens off;
  server_names_hash_bucket_size 128;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
{{- end }}
