"""OpenTelemetry: calls as spans, exported by OTLP over HTTP. Imported only if traces are on."""
