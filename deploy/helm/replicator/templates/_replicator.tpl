{{/* What this chart's templates call the common ones with; they add root. */}}
{{- define "replicator.context" -}}
service: replicator
shared:
  {{- include "crossfade.shared" . | nindent 2 }}
listens: false
# the feed publishes and marks nothing
redis: {{ ne .Values.consumer "feed" }}
headless: true
flags: ""
ports: {}
from: []
{{- end -}}

{{- define "replicator.env" -}}
{{- include "crossfade.env" . }}
- name: CROSSFADE_CONSUMER
  value: {{ .root.Values.consumer }}
# The pod's name lasts while its container restarts: after a crash it has its shards back at once (ADR 0011).
- name: CROSSFADE_WORKER
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: CROSSFADE_GRACE_S
  value: {{ .root.Values.drain.batchS | quote }}
{{- end -}}
