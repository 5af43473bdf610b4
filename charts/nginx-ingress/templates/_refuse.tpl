{{- /*
Keys that are known and not honoured are refused by name: refused.yaml lists them, with `use` (the key that took its
place, or `nothing`) and `why`. An entry with `when: set` is refused whenever it is there; otherwise false and empty values pass. `when: unless
off`: a map, of which anything is refused unless `enabled: false` stands beside it.
*/ -}}
{{- define "nginx-ingress.refuse" -}}
{{- $chart := .Chart.Name -}}
{{- $values := .Values -}}
{{- $found := list -}}
{{- range $entry := (.Files.Get "refused.yaml" | fromYaml).keys -}}
{{- $at := $values -}}
{{- range $part := splitList "." $entry.key -}}
{{- $at = ternary (get (ternary $at dict (kindIs "map" $at)) $part) nil (and (kindIs "map" $at) (hasKey (ternary $at dict (kindIs "map" $at)) $part)) -}}
{{- end -}}
{{- $off := "" -}}
{{- if eq ($entry.when | default "") "unless off" -}}
{{- $off = printf " (accepted while %s.enabled is false)" $entry.key -}}
{{- $part := ternary $at dict (kindIs "map" $at) -}}
{{- $at = and (ne (toJson (get $part "enabled")) "false") (or (get $part "enabled") (omit $part "enabled")) -}}
{{- end -}}
{{- if or $at (and (eq ($entry.when | default "") "set") (not (kindIs "invalid" $at))) -}}
{{- $use := ternary "nothing instead" (printf "use %s" $entry.use) (eq $entry.use "nothing") -}}
{{- $found = append $found (printf "%s is refused: %s%s" $entry.key (list $use $entry.why | compact | join ": ") $off) -}}
{{- end -}}
{{- end -}}
{{- if $found -}}
{{- fail (printf "\n\nchart %s:\n  %s\n" $chart (join "\n  " $found)) -}}
{{- end -}}
{{- end }}
