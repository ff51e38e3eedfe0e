"""Makes the Grafana dashboards and the Prometheus alert rules from the telemetry contract."""
