package resource

import "time"

// Paths of the activity, below the authority's base. A listing is newest first, a
// stream (format=jsonl, or follow=true) oldest first, as one Activity a line.
const (
	ActivityPath       = "/admin/v1/activity"
	ActivityVerifyPath = ActivityPath + "/verify"
)

// MediaTypeLines is the type of streams.
const MediaTypeLines = "application/x-ndjson"

// Outcomes of what was asked for.
const (
	OutcomeAllowed = "allowed"
	OutcomeRefused = "refused"
)

// Activity is one decision of the authority. It never holds a token, a secret or
// evidence.
type Activity struct {
	Sequence  int64     `json:"sequence"`
	At        time.Time `json:"at"`
	Kind      string    `json:"kind"`
	Outcome   string    `json:"outcome"`
	Reason    string    `json:"reason,omitempty"`   // why it was refused, or what was changed
	Source    string    `json:"source,omitempty"`   // address of who asked
	Admin     string    `json:"admin,omitempty"`    // name of an administrator's token
	Ticket    string    `json:"ticket,omitempty"`   // its public id
	Workload  string    `json:"workload,omitempty"` // its id
	TokenID   string    `json:"token_id,omitempty"` // jti of the token that was issued
	Resource  string    `json:"resource,omitempty"` // kind/name of what it is about
	Audiences []string  `json:"audiences,omitempty"`
	Count     int64     `json:"count"` // how many alike this one stands for
	Hash      string    `json:"hash"`  // covers this and all before of its class
	Class     string    `json:"class"` // the chain that it is in
}

// ActivityChain says whether the activity is as it was written.
type ActivityChain struct {
	Intact  bool   `json:"intact"`
	Problem string `json:"problem,omitempty"` // the first place where it is not
	First   int64  `json:"first,omitempty"`   // sequence number of the oldest event
	Last    int64  `json:"last,omitempty"`    // of the newest one
	Hash    string `json:"hash,omitempty"`    // of the newest one
	// Classes are the chains; keep where they end elsewhere to notice one made anew.
	Classes []ActivityClassChain `json:"classes,omitempty"`
}

// ActivityClassChain is the chain of one class of events.
type ActivityClassChain struct {
	Class   string `json:"class"`             // "" of what there was before classes
	Follows string `json:"follows,omitempty"` // hash that the oldest event follows
	First   int64  `json:"first,omitempty"`   // sequence number of the oldest event, if there is one
	Last    int64  `json:"last,omitempty"`
	Hash    string `json:"hash,omitempty"` // of the newest event, or what the next one follows
}
