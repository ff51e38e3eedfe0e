{{/* What this chart's templates call the common ones with; they add root. */}}
{{- define "controller.context" -}}
service: controller
shared:
  {{- include "crossfade.shared" . | nindent 2 }}
listens: true
flags: ""
ports:
  http: 8080
from:
  # the CLI in a controller's pod, whichever of them drives
  - podSelector:
      matchLabels:
        app.kubernetes.io/name: controller
  {{- with .Values.clients }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
more: |
  - to:
      - podSelector:
          matchLabels:
            app.kubernetes.io/name: controller
    ports:
      - port: http
  - to:
      - podSelector:
          matchLabels:
            app.kubernetes.io/name: verifier
    ports:
      - port: http
  # the API server, where the flags are published
  - to:
      {{- range .Values.apiServer.cidrs }}
      - ipBlock:
          cidr: {{ . }}
      {{- end }}
    ports:
      {{- range .Values.apiServer.ports }}
      - port: {{ . }}
      {{- end }}
{{- end -}}

{{- define "controller.env" -}}
{{- include "crossfade.env" . }}
{{- if and .shared.tls.secretName (not (.root.Values.settings | default dict).operators) (not (.root.Values.settings | default dict).jwks) }}
{{- fail "controller: with TLS settings.operators (controller.settings.operators in the umbrella) must name the certificates that may give commands, the one in shared.tls.secretName for the CLI in the controller's pods; [\"*\"] for each of the authority; or settings.jwks, so that operators show tokens" }}
{{- end }}
- name: CROSSFADE_HTTP_PORT
  value: "8080"
- name: CROSSFADE_CONTROLLER_URL
  value: {{ printf "%s://%s:8080" (ternary "https" "http" (ne .shared.tls.secretName "")) (include "crossfade.fullname" .root) }}
- name: CROSSFADE_FLAG_CONFIG_MAP
  value: {{ printf "%s/%s" .root.Release.Namespace .shared.flags.configMap }}
- name: CROSSFADE_VERIFIER_URL
  value: {{ printf "%s://%s:8080" (ternary "https" "http" (ne .shared.tls.secretName "")) (tpl .root.Values.verifier.service .root) }}
{{- end -}}
