//go:build linux

//lint:file-ignore SA1019 net/http agrees to no Upgrade to HTTP/2, and this test is about servers that do

package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"

	"github.com/lanyardhq/lanyard/test/lab"
)

// jdkClient is a program that leaves every setting of the JDK's client as it is: that
// asks plaintext servers to switch to HTTP/2.
const jdkClient = `
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.concurrent.CompletableFuture;

public class Client {
    static void check(HttpResponse<String> answer) {
        System.out.println(answer.version() + " " + answer.statusCode());
        if (answer.statusCode() != 200) throw new IllegalStateException(answer.body());
    }

    public static void main(String[] arguments) throws Exception {
        URI uri = URI.create(arguments[0]);
        HttpClient client = HttpClient.newHttpClient();
        HttpRequest get = HttpRequest.newBuilder(uri).build();
        HttpRequest post = HttpRequest.newBuilder(uri).POST(HttpRequest.BodyPublishers.ofString("x".repeat(100_000))).build();
        var body = HttpResponse.BodyHandlers.ofString();
        for (int i = 0; i < 5; i++) {
            check(client.send(get, body));
            check(client.send(post, body));
        }
        var together = new ArrayList<CompletableFuture<Void>>();
        for (int i = 0; i < 10; i++) together.add(client.sendAsync(get, body).thenAccept(Client::check));
        for (var one : together) one.get();
    }
}
`

// java returns the JDK's launcher, as the kernel says that it runs.
func java(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("java")
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		lab.Unavailable(t, "no java: sudo apt-get install -y --no-install-recommends openjdk-17-jdk-headless")
	}
	return path
}

// TestJDKHasATokenOnEachRequest shows that the JDK's client, before a server that would
// switch to HTTP/2 and with it to requests that no token can be put into, stays with
// HTTP/1.1, and has its token on each request.
func TestJDKHasATokenOnEachRequest(t *testing.T) {
	executable := java(t)
	w := newWorld(t)
	w.startAuthority()
	ledger := w.newLedger()
	w.serve(port, h2c.NewHandler(ledger, &http2.Server{}), ledgerV4, ledgerV6)
	w.createTicket("ticket", "--max-uses", "1")
	source := w.write("Client.java", jdkClient)

	output, err := w.run(executable, source, ledgerURL+"/")
	if err == nil || !strings.Contains(output, "HTTP_2 401") {
		t.Fatalf("without an agent, the server does not switch to HTTP/2: %v\n%s", err, output)
	}
	without := len(ledger.all())
	w.startAgent(w.config(strings.Replace(curlConfig, "/usr/bin/curl", executable, 1)))
	output, err = w.run(executable, source, ledgerURL+"/")
	if err != nil {
		t.Fatalf("a request was not let in: %v\n%s", err, output)
	}
	if n := strings.Count(output, "HTTP_1_1 200"); n != 20 {
		t.Errorf("%d of 20 requests were let in over HTTP/1.1:\n%s", n, output)
	}
	if with := ledger.tokens(); with != 20 || len(ledger.all())-without != with {
		t.Errorf("%d of %d requests had a token, want 20 of 20", with, len(ledger.all())-without)
	}
	w.stopAgent()
}
