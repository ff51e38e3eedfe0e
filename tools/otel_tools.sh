#!/usr/bin/env bash
# Builds a real Jaeger and a real OpenTelemetry Collector with Go, once, into build/otel. Used by: make test-otel
set -euo pipefail
cd "$(dirname "$0")/.."
JAEGER=1.62.0
COLLECTOR=0.120.0
out="$PWD/build/otel"
mkdir -p "$out"

if ! command -v go > /dev/null; then
    echo "make test-otel needs Go 1.23 or newer, to build Jaeger $JAEGER and the OpenTelemetry Collector $COLLECTOR" >&2
    exit 2
fi

if [ ! -x "$out/jaeger-$JAEGER" ]; then
    echo "building Jaeger $JAEGER (some minutes)" >&2
    mkdir -p "$out/jaeger-src"
    (
        cd "$out/jaeger-src"
        [ -f go.mod ] || go mod init crossfade.test/jaeger 2> /dev/null
        go get "github.com/jaegertracing/jaeger/cmd/all-in-one@v$JAEGER"
        go build -o "$out/jaeger-$JAEGER" github.com/jaegertracing/jaeger/cmd/all-in-one
    )
fi

if [ ! -x "$out/collector-$COLLECTOR" ]; then
    echo "building the OpenTelemetry Collector $COLLECTOR (some minutes)" >&2
    mkdir -p "$out/collector-src"
    GOBIN="$out/bin" go install "go.opentelemetry.io/collector/cmd/builder@v$COLLECTOR"
    cat > "$out/collector-src/builder.yaml" << YAML
dist:
  name: collector
  output_path: $out/collector-src/generated
receivers:
  - gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v$COLLECTOR
processors:
  - gomod: go.opentelemetry.io/collector/processor/batchprocessor v$COLLECTOR
exporters:
  - gomod: go.opentelemetry.io/collector/exporter/otlpexporter v$COLLECTOR
  - gomod: go.opentelemetry.io/collector/exporter/debugexporter v$COLLECTOR
YAML
    "$out/bin/builder" --config "$out/collector-src/builder.yaml"
    cp "$out/collector-src/generated/collector" "$out/collector-$COLLECTOR"
fi
echo "$out/jaeger-$JAEGER"
echo "$out/collector-$COLLECTOR"
