package resource

// Object is one resource: what an administrator declares, and what the authority
// says of it.
type Object[Spec, Status any] struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Spec   Spec   `json:"spec"`
	Status Status `json:"status"`

	// Secrets are in the answer that made them, and nowhere else: each is shown once.
	Ticket string `json:"ticket,omitempty"` // of a Ticket
	Token  string `json:"token,omitempty"`  // of an AdminToken
}

// Declaration is what an administrator sends: the body of POST, where the name may
// be left out if the kind can make one up, and of PUT.
type Declaration[Spec any] struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Spec Spec   `json:"spec"`
}

// Page is one page of a listing. Next, if not empty, is the query parameter
// "after" of the next one.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// MaxPage is the largest page of a listing.
const MaxPage = 200

// Error is the body of every answer that is no success.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}
