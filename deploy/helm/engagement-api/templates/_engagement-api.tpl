{{/* What this chart's templates call the common ones with; they add root. */}}
{{- define "engagement-api.context" -}}
service: engagement-api
shared:
  {{- include "crossfade.shared" . | nindent 2 }}
listens: true
redis: true
flags: required
ports:
  grpc: 50051
from:
  {{- toYaml .Values.clients | nindent 2 }}
{{- end -}}

{{- define "engagement-api.env" -}}
{{- include "crossfade.env" . }}
- name: CROSSFADE_PORT
  value: "50051"
- name: CROSSFADE_FLAG_FILE
  value: /etc/crossfade/flags/flags.json
- name: CROSSFADE_DRAIN_NOTICE_S
  value: {{ .root.Values.drain.noticeS | quote }}
- name: CROSSFADE_DRAIN_S
  value: {{ .root.Values.drain.callsS | quote }}
{{- end -}}
