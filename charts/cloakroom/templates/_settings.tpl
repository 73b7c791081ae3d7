{{/* The injector's settings, as the text that its pods carry. Every key is the injector's. */}}
{{- define "cloakroom.settings" -}}
{{- $root := . -}}
{{- range $name := prepend (values .Values.namespaceProfiles) .Values.defaultProfile -}}
{{- if not (hasKey $root.Values.profiles $name) -}}{{- fail (printf "`%s` is no profile; write it under `profiles`, or choose one that is there" $name) -}}{{- end -}}
{{- end -}}
image: {{ include "cloakroom.image" (list . .Values.agent.image) | quote }}
imagePullPolicy: {{ .Values.agent.image.pullPolicy }}
uid: {{ int .Values.agent.uid }}
gid: {{ int .Values.agent.gid }}
group: {{ int .Values.agent.group }}
defaultProfile: {{ .Values.defaultProfile }}
{{- with .Values.namespaceProfiles }}
namespaces: {{ toRawJson . }}
{{- end }}
profiles:
  {{- range $name, $profile := .Values.profiles }}
  {{ $name }}:
    {{- if $root.Values.openshift.enabled }}
    runAsUserFromNamespace: true
    {{- end }}
    {{- range $key, $value := $profile }}
    {{ $key }}: {{ toRawJson $value }}
    {{- end }}
  {{- end }}
{{- end -}}
