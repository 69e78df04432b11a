package telemetrytest

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// traceService is the gRPC side of a Receiver.
type traceService struct {
	collector.UnimplementedTraceServiceServer
	receiver *Receiver
}

// Export implements the OTLP trace service.
func (s *traceService) Export(
	_ context.Context, export *collector.ExportTraceServiceRequest,
) (*collector.ExportTraceServiceResponse, error) {
	if err := s.receiver.keep(export); err != nil {
		return nil, status.Error(codes.ResourceExhausted, err.Error())
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// serveHTTP is the HTTP side: binary protobuf, packed with gzip or not.
func (r *Receiver) serveHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "only application/x-protobuf is understood", http.StatusUnsupportedMediaType)
		return
	}
	body, err := readBody(w, req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	export := &collector.ExportTraceServiceRequest{}
	if err := proto.Unmarshal(body, export); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := r.keep(export); err != nil {
		http.Error(w, err.Error(), http.StatusTooManyRequests)
		return
	}
	answer, err := proto.Marshal(&collector.ExportTraceServiceResponse{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(answer) // a client that went away will send the spans again
}

func readBody(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	packed := http.MaxBytesReader(w, req.Body, maxBody)
	if req.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(packed)
	}
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(unpacked, maxBody))
}
