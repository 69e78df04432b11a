package authority

import "testing"

// What was used last stays; what was quiet for longest gives way.
func TestRecentForgetsTheQuietest(t *testing.T) {
	r := newRecent[string, int](2)
	r.put("a", 1)
	r.put("b", 2)
	r.get("a")
	r.put("c", 3)
	for key, want := range map[string]bool{"a": true, "b": false, "c": true} {
		if _, found := r.get(key); found != want {
			t.Errorf("%s is remembered: %t, want %t", key, found, want)
		}
	}
	if len(r.known) != 2 || r.order.Len() != 2 {
		t.Errorf("%d and %d are remembered, want 2", len(r.known), r.order.Len())
	}
}

func TestRecentKeepsTheFirstValue(t *testing.T) {
	r := newRecent[string, int](2)
	if !r.put("a", 1) || r.put("a", 2) {
		t.Error("the first value was not put, or the second one was")
	}
	if value := r.getOr("a", func() int { return 3 }); value != 1 {
		t.Errorf("a is %d, want 1", value)
	}
	if value := r.getOr("b", func() int { return 4 }); value != 4 {
		t.Errorf("b is %d, want 4", value)
	}
}
