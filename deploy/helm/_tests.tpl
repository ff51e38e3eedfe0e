{{/* What the charts have in common for `helm test`: see `_crossfade.tpl`. */}}

{{/* A pod of `helm test` with the chart's own image. Call with root, shared, service, name, command, env, flags, listens. */}}
{{- define "crossfade.testPod" -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ printf "%s-%s" (include "crossfade.fullname" .root) .name }}
  labels:
    app.kubernetes.io/name: {{ .service }}-test
    app.kubernetes.io/part-of: crossfade
    app.kubernetes.io/component: helm-test
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  activeDeadlineSeconds: 60
  securityContext:
    {{- include "crossfade.podSecurity" . | nindent 4 }}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: test
      image: {{ include "crossfade.image" . }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command:
        {{- toYaml .command | nindent 8 }}
      {{- with .env }}
      env:
        {{- . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "crossfade.containerSecurity" . | nindent 8 }}
      resources:
        requests:
          cpu: 50m
          memory: 128Mi
        limits:
          memory: 256Mi
      volumeMounts:
        {{- include "crossfade.mounts" . | nindent 8 }}
  volumes:
    {{- include "crossfade.volumes" . | nindent 4 }}
{{- end -}}


{{/* The certificate that `helm test` shows where a service demands one. */}}
{{- define "crossfade.probeEnv" -}}
{{- if and .listens .shared.tls.secretName }}
- name: CROSSFADE_TLS_CERT_FILE
  value: /etc/crossfade/tls/tls.crt
- name: CROSSFADE_TLS_KEY_FILE
  value: /etc/crossfade/tls/tls.key
- name: CROSSFADE_TLS_CLIENT_CA_FILE
  value: /etc/crossfade/tls/ca.crt
{{- end }}
{{- end -}}
