{{/*
The pairs of image and configuration that the policy accepts, as its variables: `current_PROFILE_N`, `previous_…` likewise;
`earlier_…` is what was accepted before that and may still be what serves; `given_N` and `further_N` come from the values.
Each is a list of two texts, in JSON, which is CEL too.

They stand in the policy and not in a ConfigMap as its parameters: with those, an API server (seen on 1.34) never again
reads a ConfigMap once the last policy that has such parameters was deleted, and a chart that is installed a second time
would have every pod refused until the API server restarts.

What was current before this release is read from the cluster, where there is one to look at, or given as
`policy.previous`.
*/}}
{{- define "cloakroom.accepted" -}}
{{- $root := . -}}
{{- $image := include "cloakroom.image" (list . .Values.agent.image) -}}
{{- $current := dict -}}
{{- range $name, $profile := .Values.profiles -}}
{{- range $index, $text := include "cloakroom.configurations" (list $root $profile) | fromJsonArray -}}
{{- $_ := set $current (printf "current_%s_%d" (replace "-" "_" $name) $index) (toRawJson (list $image $text)) -}}
{{- end -}}
{{- end -}}
{{- $was := dict -}}{{- $before := dict -}}
{{- $live := lookup "admissionregistration.k8s.io/v1" "ValidatingAdmissionPolicy" "" (include "cloakroom.clusterName" .) | default dict -}}
{{- range $variable := dig "spec" "variables" list $live -}}
{{- if hasPrefix "current_" $variable.name -}}{{- $_ := set $was $variable.name $variable.expression -}}{{- end -}}
{{- if or (hasPrefix "previous_" $variable.name) (hasPrefix "earlier_" $variable.name) -}}{{- $_ := set $before $variable.name $variable.expression -}}{{- end -}}
{{- end -}}
{{- /* The same values applied twice are no new version: what was accepted before them stays. */ -}}
{{- if and $was (ne (toRawJson $was) (toRawJson $current)) -}}
{{- /* Replicas of an older version serve until a newer one gets ready: what they put in is not refused before that. */ -}}
{{- $deployment := lookup "apps/v1" "Deployment" .Release.Namespace (include "cloakroom.fullname" .) | default dict -}}
{{- $wanted := dig "spec" "replicas" 0 $deployment | int -}}
{{- $whole := and (eq (dig "status" "observedGeneration" 0 $deployment | int) (dig "metadata" "generation" 0 $deployment | int)) (eq (dig "status" "updatedReplicas" 0 $deployment | int) $wanted) (eq (dig "status" "replicas" 0 $deployment | int) $wanted) (eq (dig "status" "availableReplicas" 0 $deployment | int) $wanted) -}}
{{- $earlier := dict -}}
{{- if not $whole -}}
{{- range $name, $pair := $before -}}{{- $_ := set $earlier (printf "earlier_%s" (sha256sum $pair | trunc 12)) $pair -}}{{- end -}}
{{- end -}}
{{- $before = $earlier -}}
{{- range $name, $pair := $was -}}{{- $_ := set $before (printf "previous_%s" (trimPrefix "current_" $name)) $pair -}}{{- end -}}
{{- end -}}
{{- $pairs := merge $current $before -}}
{{- range $kind, $given := dict "given" .Values.policy.previous "further" .Values.policy.accepted -}}
{{- range $index, $pair := $given -}}
{{- $_ := set $pairs (printf "%s_%d" $kind $index) (toRawJson (list $pair.image $pair.configuration)) -}}
{{- end -}}
{{- end -}}
{{- toRawJson $pairs -}}
{{- end -}}
