package keyring

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// childDatabase names the database of a child process that changes keys until it is
// killed.
const childDatabase = "LANYARD_TEST_KEYRING_DATABASE"

func TestMain(m *testing.M) {
	if path := os.Getenv(childDatabase); path != "" {
		fmt.Println(changeKeysForEver(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func childConfig(s *store.Store, box *Box) Config {
	return Config{Store: s, Box: box, Algorithm: jose.ES256, Period: MinPeriod, MaxTokenLife: time.Hour}
}

// changeKeysForEver revokes and rotates in turn, and says which key is revoked once it is.
func changeKeysForEver(path string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, path)
	if err != nil {
		return err
	}
	box, err := NewBox(strings.Repeat("A", 43) + "=")
	if err != nil {
		return err
	}
	record := func(*store.Tx, Change) error { return nil }
	ring, err := Open(ctx, childConfig(s, box), now, record)
	if err != nil {
		return err
	}
	keys, err := s.Read(ctx).SigningKeys(store.PurposeIDToken)
	if err != nil {
		return err
	}
	// From where the child before was killed: the newest key is the next one.
	for at := keys[len(keys)-1].CreatedAt; err == nil; at = at.Add(PublishAhead) {
		if err = ring.Rotate(ctx, at.Add(PublishAhead), record); err != nil {
			break
		}
		revoked := ring.current.Load().signer.Public().Thumbprint()
		err = ring.Revoke(ctx, revoked, at.Add(PublishAhead), record)
		fmt.Println(revoked)
	}
	return err
}

// TestKilledBetweenSteps: whenever the process is killed, what it said is revoked stays
// so, and the next start has keys to go on with.
func TestKilledBetweenSteps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	box, err := NewBox(strings.Repeat("A", 43) + "=")
	if err != nil {
		t.Fatal(err)
	}
	revoked := map[string]bool{}
	for round := range 4 {
		for _, id := range runUntilKilled(t, path, 2+3*round) {
			revoked[id] = true
		}
		s := openStore(t, path)
		f := &fixture{t: t, config: childConfig(s, box)}
		f.reopen(now)
		count := map[string]int{}
		for _, key := range f.keys() {
			count[key.State]++
			if revoked[key.ID] && key.State != store.KeyRevoked || (key.State == store.KeyRevoked) == f.published()[key.ID] {
				t.Errorf("round %d: key %s is %s, published: %v", round, key.ID, key.State, f.published()[key.ID])
			}
		}
		if count[store.KeyActive] != 1 || count[store.KeyNext] != 1 || f.signsBy() != f.inState(store.KeyActive).ID {
			t.Errorf("round %d: %v", round, count)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// runUntilKilled kills a child in the midst of its work, after it has said so many
// keys, and returns them.
func runUntilKilled(t *testing.T, path string, keys int) (said []string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDatabase+"="+path)
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if len(lines.Text()) != 43 {
			t.Errorf("the child fails: %s", lines.Text())
			break
		}
		if said = append(said, lines.Text()); len(said) == keys {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	_ = child.Wait() // it was killed
	if len(said) < keys {
		t.Fatalf("the child said %d keys", len(said))
	}
	return said
}
