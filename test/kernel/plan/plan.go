package plan

// Path is where the guest finds its plan, as JSON.
const Path = "/plan.json"

// Marker begins each line in the guest's report that is not output of a test:
// "begin N", "end N STATUS" around the output of program N, "done" after the last.
const Marker = "LANYARD-GUEST"

// Plan is what the guest has to do.
type Plan struct {
	Modules  []string  `json:"modules"` // kernel modules to load, in this order
	Programs []Program `json:"programs"`
}

// Program is a test program to run.
type Program struct {
	Folder    string   `json:"folder"` // to run in
	Arguments []string `json:"arguments"`
}
