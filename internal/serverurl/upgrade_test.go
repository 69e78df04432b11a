package serverurl_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/serverurl"
	"github.com/lanyardhq/lanyard/internal/serverurl/serverurltest"
)

// A server that changes the protocol, and then says nothing, keeps nobody waiting.
func TestWithoutUpgrade(t *testing.T) {
	letGo := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		letGo <- serverurltest.ChangeProtocol(w, 10*time.Second)
	}))
	defer server.Close()
	client := &http.Client{Transport: serverurl.WithoutUpgrade(&http.Transport{DisableKeepAlives: true})}
	response, err := client.Get(server.URL)
	if err == nil {
		_, _ = io.ReadAll(response.Body)
		_ = response.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "101 (Switching Protocols)") {
		t.Errorf("error %v", err)
	}
	if err := <-letGo; err != nil {
		t.Error(err)
	}
}

func TestWithoutUpgradeHandsOnOtherAnswers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "hello")
	}))
	defer server.Close()
	client := &http.Client{Transport: serverurl.WithoutUpgrade(&http.Transport{DisableKeepAlives: true})}
	response, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); string(text) != "hello" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}
