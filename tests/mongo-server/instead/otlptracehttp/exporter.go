// Package otlptracehttp stands in for the exporter of traces, which this server never starts.
// The real one brings gRPC, which would be a tenth of the time that the server takes to build.
package otlptracehttp

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
)

// Exporter refuses to start.
type Exporter struct{}

// Option is ignored.
type Option struct{}

// NoCompression is the one compression that FerretDB names.
const NoCompression = 0

var errNotHere = errors.New("traces are not exported by this build")

func NewUnstarted(...Option) *Exporter { return &Exporter{} }

func WithEndpointURL(string) Option           { return Option{} }
func WithHeaders(map[string]string) Option    { return Option{} }
func WithTimeout(time.Duration) Option        { return Option{} }
func WithCompression(int) Option              { return Option{} }
func (*Exporter) Start(context.Context) error { return errNotHere }

func (*Exporter) ExportSpans(context.Context, []trace.ReadOnlySpan) error { return errNotHere }
func (*Exporter) Shutdown(context.Context) error                          { return nil }
