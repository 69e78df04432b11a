package authority

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// BenchmarkIDToken is the server's whole work for one ID token; the next one is
// the part of it that no implementation can save.
func BenchmarkIDToken(b *testing.B) {
	f := start(b, func(c *Config) { c.Now = time.Now })
	f.clock.Advance(time.Since(startTime))
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	bearers := make(chan string, b.N)
	for range b.N {
		f.clock.Advance(time.Since(f.clock.Now()))
		bearers <- "Bearer " + m.assertion()
	}
	b.ResetTimer()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			request := httptest.NewRequest("POST", idTokenPath, nil)
			request.Header.Set("Authorization", <-bearers)
			recorder := httptest.NewRecorder()
			f.Handler().ServeHTTP(recorder, request)
			if recorder.Code != 200 {
				b.Error(recorder.Code, recorder.Body)
			}
		}
	})
}

func BenchmarkVerifyAndSign(b *testing.B) {
	f := start(b)
	m := f.newMember()
	sum := sha256.Sum256([]byte("x"))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			signature, err := ecdsa.SignASN1(rand.Reader, m.key, sum[:])
			if err != nil || !ecdsa.VerifyASN1(&m.key.PublicKey, sum[:], signature) {
				b.Error("sign or verify failed")
			}
		}
	})
}
