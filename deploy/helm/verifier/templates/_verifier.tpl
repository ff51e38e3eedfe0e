{{/* What this chart's templates call the common ones with; they add root. */}}
{{- define "verifier.context" -}}
service: verifier
shared:
  {{- include "crossfade.shared" . | nindent 2 }}
listens: true
flags: optional
ports:
  http: 8080
from:
  - podSelector:
      matchLabels:
        app.kubernetes.io/name: controller
        app.kubernetes.io/part-of: crossfade
  {{- with .Values.clients }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "verifier.env" -}}
{{- include "crossfade.env" . }}
- name: CROSSFADE_HTTP_PORT
  value: "8080"
- name: CROSSFADE_FLAG_FILE
  value: /etc/crossfade/flags/flags.json
{{- end -}}
