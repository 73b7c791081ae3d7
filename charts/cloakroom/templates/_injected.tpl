{{/*
What the injector puts into pods, as far as the policy has to know it. One side of a seam: injector/src/inject/ and
injector/src/profile/config.rs are the other, and a pod in a mandatory namespace is refused where the two differ.
*/}}

{{/*
Every text that CLOAKROOM_CONFIG_INLINE can have in a pod of one profile that adds no files, as a JSON list: a list of the
root context and the profile. There is more than one where the profile has a port (a pod in its node's network gets the
socket instead) or lets the pod choose a level of the log.

The text is JSON with its keys sorted, no blanks, and nothing escaped that JSON does not ask for, so that two serialisers
write the same bytes. `$` is doubled because the kubelet expands `$(NAME)` in values. Every section of the configuration is
there, and `render` is the last one, so that a pod's files can be added and nothing else: an agent takes no key twice.
*/}}
{{- define "cloakroom.configurations" -}}
{{- $root := index . 0 -}}{{- $profile := index . 1 -}}
{{- $admins := list "unix:/run/cloakroom/agent/admin.sock" -}}
{{- with $profile.metricsPort }}{{ $admins = prepend $admins (printf "0.0.0.0:%d" (int .)) }}{{ end -}}
{{- $texts := list -}}
{{- range $admin := $admins -}}
{{- range $level := prepend (default list $profile.logLevels) "" -}}
{{- $config := deepCopy $profile.config -}}
{{- $_ := set $config "listen" (merge (dict "socket" "/run/cloakroom/agent/agent.sock" "group" (int $root.Values.agent.group) "admin" $admin) (default dict $config.listen)) -}}
{{- $_ := set $config "identity" (dict "kind" "pod" "tokenDir" "/var/run/secrets/cloakroom/kube") -}}
{{- with $level }}{{ $_ := set $config "log" (merge (dict "level" .) (default dict $config.log)) }}{{ end -}}
{{- range $section := list "audit" "backend" "cache" "identity" "limits" "listen" "log" "permissions" "secrets" -}}
{{- $_ := set $config $section (default dict (get $config $section)) -}}
{{- end -}}
{{- $_ := set $config "renderSets" list -}}
{{- $files := default list (get $config "render") -}}
{{- $text := printf "%s,\"render\":%s}" (omit $config "render" | toRawJson | trimSuffix "}") (toRawJson $files) -}}
{{- $texts = append $texts ($text | replace "$" "$$") -}}
{{- end -}}
{{- end -}}
{{- toRawJson $texts -}}
{{- end -}}

{{/* Beside the containers, and before them in mode init. */}}
{{- define "cloakroom.injected.command" -}}["cloakroom", "agent"]{{- end -}}
{{- define "cloakroom.injected.init" -}}["cloakroom", "render"]{{- end -}}

{{/* What its startup probe runs. */}}
{{- define "cloakroom.injected.probes" -}}[["cloakroom", "ready"], ["cloakroom", "ready", "--files"]]{{- end -}}

{{/* Paths in the agent's container and the volumes that lie there. */}}
{{- define "cloakroom.injected.mounts" -}}
{"/run/cloakroom": "cloakroom-socket", "/cloakroom/files": "cloakroom-files", "/var/run/secrets/cloakroom/kube": "cloakroom-kube", "/var/run/secrets/cloakroom/conjur": "cloakroom-conjur"}
{{- end -}}

{{- define "cloakroom.injected.tokens" -}}["cloakroom-kube", "cloakroom-conjur"]{{- end -}}

{{/* Volumes in memory, which containers other than ours mount for reading. */}}
{{- define "cloakroom.injected.memory" -}}["cloakroom-socket", "cloakroom-files", "cloakroom-bin"]{{- end -}}
