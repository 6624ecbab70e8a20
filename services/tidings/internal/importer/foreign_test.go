package importer

import (
	"bytes"
	"errors"
	"log"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
)

// Somebody who takes the address of gRPC for that of the write door is told so at once, and sees nothing of net/http's.
func TestTheAddressOfGRPCIsNoDoor(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(lis) }()
	defer func() { srv.Stop(); <-ended }()
	var printed bytes.Buffer // the log package is safe for concurrent use
	before := log.Writer()
	log.SetOutput(&printed)
	defer log.SetOutput(before)

	began := time.Now()
	_, err = Run(t.Context(), Config{Door: "http://" + lis.Addr().String(), Rows: Sample(500, 1), Workers: 64})
	if !errors.Is(err, ErrDoorLost) || !strings.Contains(err.Error(), "is --door the address of a write door?") {
		t.Errorf("error %v, want ErrDoorLost that names --door", err)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("it took %v", d)
	}
	log.SetOutput(before)
	if printed.Len() > 0 {
		t.Errorf("printed: %s", printed.String())
	}
}
