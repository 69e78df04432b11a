//go:build linux

package injector

import (
	"bytes"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/freeport"
	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

// What the files of the served tree say: those within the rule's folder, and all others.
const (
	inside  = "file-within-the-rule"
	outside = "file-outside-of-the-rule"
)

// serverTree makes a folder /api/ of a rule, beside what is not the rule's.
func serverTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	must(t, os.Chmod(root, 0o755)) // nginx's workers are another user
	for name, content := range map[string]string{
		"api/in.txt": inside, "api/é.txt": inside, "api/sub/in.txt": inside, "api/sub/deep/in.txt": inside,
		"out.txt": outside, "secret/out.txt": outside, "index.html": outside, "secret/index.html": outside,
	} {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return root
}

// spellings are paths that some server may take for one outside of /api/.
func spellings() (all []string) {
	ups := []string{
		"..", ".", "...", "....", "%2e%2e", "%2E%2e", ".%2e", "%2e.", "%2e", "..;", "..;x", "..;a=b", ".;x", ".;/..", "%2e%2e;", "..%3b", "..%3Bx",
		"%252e%252e", "%25252e%25252e", "%u002e%u002e", "..%00", "..%20", "..%09", ".. ", "..%0d", "..%c0%80", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae",
		"%c0%2e%c0%2e", "%uff0e%uff0e", "%ef%bc%8e%ef%bc%8e", "..%5c..", `..\..`, "..%2f..", "..%252f..", "x;/..", "x#/..", "x?/..", "..#", "..?", "", ";", ";x",
	}
	separators := []string{"/", "//", "///", "/./", `\`, "%2f", "%2F", "%5c", "%252f", "%255c", ";/", "/;/", "/;x=y/", "%c0%af", "%e0%80%af", "%u2215", "%00/", "#/", "?/", "%23/", "%3f/"}
	for _, base := range []string{"/api", "/api/x", "/api/sub"} {
		for _, up := range ups {
			for _, s := range separators {
				for _, tail := range []string{"out.txt", "secret/out.txt", "..;/out.txt", ".." + s + "out.txt", up + s + "out.txt", up + s + up + s + "secret/out.txt"} {
					all = append(all, base+s+up+s+tail, base+"/"+up+s+tail)
				}
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestPathsAgainstServers holds that whatever a real server serves as something outside
// of a rule's folder, the rule does not apply to.
func TestPathsAgainstServers(t *testing.T) {
	root := serverTree(t)
	rule := ledger(func(d *workload.Destination) { d.Paths = []string{"/api/"} })
	for name, start := range map[string]func(*testing.T, string) string{
		"Go": startGo, "Node": startNode, "nginx": startNginx, "Tomcat": startTomcat,
	} {
		t.Run(name, func(t *testing.T) {
			address := start(t, root)
			for _, target := range []string{"/api/in.txt", "/api/%69n.txt", "/api/sub/in.txt", "/api/%C3%a9.txt", "/api/in.txt?../../out.txt"} {
				if !applies(rule, target) || !bytes.Contains(ask(address, target), []byte(inside)) {
					t.Errorf("%s is not served, or the rule does not apply to it", target)
				}
			}
			all := spellings()
			queue := make(chan string)
			var mu sync.Mutex
			applied, served := 0, 0
			var workers sync.WaitGroup
			for range 4 {
				workers.Go(func() {
					for target := range queue {
						in, out := applies(rule, target), bytes.Contains(ask(address, target), []byte(outside))
						mu.Lock()
						if in {
							applied++
						}
						if out {
							served++
						}
						if in && out {
							t.Errorf("the rule applies to %q, and the server leaves its folder", target)
						}
						mu.Unlock()
					}
				})
			}
			for i, target := range all {
				if i%7 == 0 {
					target = "http://ledger.internal" + target
				}
				queue <- target
			}
			close(queue)
			workers.Wait()
			if !bytes.Contains(ask(address, "/api/in.txt"), []byte(inside)) {
				t.Error("the server does not serve any more")
			}
			if served == 0 {
				t.Error("no spelling leaves the folder: nothing was tested")
			}
			t.Logf("counts: %s: %d spellings, %d lead out of the rule's folder, to %d the rule applies", name, len(all), served, applied)
		})
	}
}

// applies reports whether a rule's token would go on a request with this target.
func applies(d *workload.Destination, target string) bool {
	b := []byte("GET " + target + " HTTP/1.1\r\nHost: ledger.internal\r\n\r\n")
	h, done, err := parseHead(b)
	return done && err == nil && outsideRule(d, h, b) == ""
}

// ask sends a target as it is and returns the whole answer.
func ask(address, target string) []byte {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, "GET "+target+" HTTP/1.1\r\nHost: ledger.internal\r\nConnection: close\r\n\r\n")
	answer, _ := io.ReadAll(c)
	return answer
}

func startGo(t *testing.T, root string) string {
	server := httptest.NewServer(nethttp.FileServer(nethttp.Dir(root)))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// nodeServer serves files as many examples on the web do.
const nodeServer = `
const http = require('http'), fs = require('fs'), path = require('path');
const [root, host, port] = process.argv.slice(2);
http.createServer((q, a) => {
  let p;
  try { p = decodeURIComponent(new URL(q.url, 'http://ledger.internal').pathname); } catch { a.writeHead(400).end(); return; }
  const file = path.join(root, path.normalize(p).replace(/\\/g, '/'));
  if (!file.startsWith(root)) { a.writeHead(403).end(); return; }
  if (file.includes('\0')) { a.writeHead(400).end(); return; }
  fs.readFile(file, (err, content) => err ? a.writeHead(404).end() : a.end(content));
}).listen(port, host);
`

func startNode(t *testing.T, root string) string {
	script := filepath.Join(t.TempDir(), "server.js")
	must(t, os.WriteFile(script, []byte(nodeServer), 0o600))
	address := freeAddress(t)
	host, port, _ := net.SplitHostPort(address)
	return startServer(t, address, "node", script, root, host, port)
}

func startNginx(t *testing.T, root string) string {
	folder, address := t.TempDir(), freeAddress(t)
	config := filepath.Join(folder, "nginx.conf")
	text := fmt.Sprintf(`
daemon off; pid %[1]s/pid; error_log stderr; worker_processes 1;
events { worker_connections 64; }
http {
  access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server { listen %[2]s; root %[3]s; }
}`, folder, address, root)
	if os.Geteuid() == 0 {
		text = "user root;" + text
	}
	must(t, os.WriteFile(config, []byte(text), 0o600))
	return startServer(t, address, "/usr/sbin/nginx", "-p", folder, "-c", config)
}

// tomcatServer is Tomcat's own servlet for files, with as much allowed as it allows.
const tomcatServer = `
import java.io.File;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;

public class Server {
    public static void main(String[] a) throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(a[0]);
        Connector connector = new Connector();
        connector.setProperty("address", a[2]);
        connector.setPort(Integer.parseInt(a[3]));
        connector.setProperty("relaxedPathChars", "\"<>[\\]^` + "`" + `{|}");
        connector.setProperty("encodedSolidusHandling", "decode");
        connector.setProperty("encodedReverseSolidusHandling", "decode");
        connector.setProperty("allowBackslash", "true");
        tomcat.setConnector(connector);
        var context = tomcat.addContext("", a[1]);
        Tomcat.addServlet(context, "files", "org.apache.catalina.servlets.DefaultServlet");
        context.addServletMappingDecoded("/", "files");
        tomcat.start();
        tomcat.getServer().await();
    }
}
`

func startTomcat(t *testing.T, root string) string {
	jars, err := filepath.Glob("/usr/share/java/tomcat10-*.jar")
	must(t, err)
	if _, err := exec.LookPath("java"); err != nil || len(jars) == 0 {
		lab.Unavailable(t, "no Tomcat: sudo apt-get install -y --no-install-recommends openjdk-17-jdk-headless libtomcat10-java")
	}
	folder, address := t.TempDir(), freeAddress(t)
	source := filepath.Join(folder, "Server.java")
	must(t, os.WriteFile(source, []byte(tomcatServer), 0o600))
	host, port, _ := net.SplitHostPort(address)
	return startServer(t, address, "java", "-cp", strings.Join(jars, ":"), source, folder, root, host, port)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address()
	must(t, err)
	return address
}

// startServer starts a program and waits until it listens.
func startServer(t *testing.T, address, program string, arguments ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		lab.Unavailable(t, program+" is missing; make test says how to install it")
	}
	process := lab.StartProcess(t, lab.Place{}, patience, program, exec.Command(program, arguments...))
	for end := time.Now().Add(6 * patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return address
		}
		if !process.Running() || time.Now().After(end) {
			t.Fatalf("%s does not listen: %v\n%s", program, err, process.Output())
		}
	}
}
