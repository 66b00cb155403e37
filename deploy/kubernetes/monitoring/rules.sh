#!/bin/sh
# rules.sh prints prometheusrule.yaml, made of deploy/prometheus/greetd.rules.yml: make rules.
set -eu
cat <<'HEAD'
# The rules of deploy/prometheus/greetd.rules.yml for the Prometheus Operator, made by make rules.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: greetd
  namespace: greetd
  labels: {app.kubernetes.io/name: greetd}
spec:
HEAD
sed -e '1,/^$/d' -e 's/^./  &/' "$(dirname "$0")/../../prometheus/greetd.rules.yml"
