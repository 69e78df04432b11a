package authority

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/openapi"
	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/strictjson"
)

// maxAdminBytes bounds the body of a request to the admin API.
const maxAdminBytes = 64 << 10

// kind is one kind of resource. All kinds are served alike: the same paths, verbs,
// conditions for concurrent edits and activity. A verb whose function is nil does
// not exist for the kind.
//
// The functions over a transaction run on the store's writing goroutine, and may
// refuse what only the database can tell.
type kind[Spec, Status any] struct {
	name string // as resource.KindTicket
	path string // as resource.TicketsPath
	noun string // in messages, and in the kinds of activity

	// newName makes up a name; nil if administrators must choose one.
	newName func() (string, error)
	// check refuses what is wrong with a spec, and puts in what was left out. old is
	// nil where the resource is new.
	check func(spec, old *Spec, now time.Time) error
	// mark puts the resource into an event about it.
	mark func(event *store.Event, name string)

	show   func(q store.Queries, name string, now time.Time) (declared[Spec, Status], error)
	list   func(q store.Queries, after string, limit int, now time.Time) ([]declared[Spec, Status], error)
	insert func(tx *store.Tx, name string, spec Spec, now time.Time) (minted, error)
	update func(tx *store.Tx, name string, spec Spec, now time.Time) error
	remove func(tx *store.Tx, name string) error
}

// declared is a resource with the version that its entity tag shows.
type declared[Spec, Status any] struct {
	resource.Object[Spec, Status]
	version int64
}

// minted are the secrets of a new resource, to be shown this once.
type minted struct{ ticket, token string }

// kindAPI serves a kind.
type kindAPI[Spec, Status any] struct {
	kind[Spec, Status]
	a *Authority
}

// mount adds the endpoints of the kind.
func (k kind[Spec, Status]) mount(a *Authority, r *routes) {
	api := kindAPI[Spec, Status]{k, a}
	all, one := methods{}, methods{}
	all[http.MethodGet], one[http.MethodGet] = a.admin(api.serveList), a.admin(api.serveOne)
	if k.insert != nil {
		all[http.MethodPost] = a.admin(api.create)
	}
	if k.update != nil {
		one[http.MethodPut], one[http.MethodPatch] = a.admin(api.put), a.admin(api.patch)
	}
	if k.remove != nil {
		one[http.MethodDelete] = a.admin(api.delete)
	}
	r.api[k.path], r.api[k.path+"/{name}"] = all, one
	r.kinds = append(r.kinds, openapi.Kind{Name: k.name, Path: k.path, Create: k.insert != nil, Change: k.update != nil, Remove: k.remove != nil})
}

func (k kindAPI[Spec, Status]) serveOne(r *http.Request, _ store.AdminToken) (reply, error) {
	found, err := k.show(k.a.store.Read(r.Context()), r.PathValue("name"), k.a.now())
	if err != nil {
		return reply{}, k.explain(err)
	}
	return found.reply(http.StatusOK), nil
}

func (k kindAPI[Spec, Status]) serveList(r *http.Request, by store.AdminToken) (reply, error) {
	after, limit, err := page(r)
	if err != nil {
		return reply{}, err
	}
	if err := k.a.enterListing(by.ID); err != nil {
		return reply{}, err
	}
	defer k.a.listings.leave(by.ID)
	found, err := costly(k.a, r.Context(), func() ([]declared[Spec, Status], error) {
		return k.list(k.a.store.Read(r.Context()), after, limit, k.a.now())
	})
	if err != nil {
		return reply{}, err
	}
	answer := resource.Page[resource.Object[Spec, Status]]{Items: []resource.Object[Spec, Status]{}}
	for _, one := range found {
		answer.Items = append(answer.Items, one.Object)
	}
	if len(found) == limit {
		answer.Next = found[limit-1].Name
	}
	return reply{status: http.StatusOK, body: answer}, nil
}

// create makes a new resource, by POST to its kind.
func (k kindAPI[Spec, Status]) create(r *http.Request, by store.AdminToken) (reply, error) {
	asked, err := k.readDeclaration(r, "")
	if err != nil {
		return reply{}, err
	}
	if asked.Name == "" && k.newName != nil {
		if asked.Name, err = k.newName(); err != nil {
			return reply{}, err
		}
	} else if err := checkName(asked.Name); err != nil {
		return reply{}, err
	}
	event := k.event(r, by, asked.Name)
	var made declared[Spec, Status]
	err = k.a.store.Write(r.Context(), func(tx *store.Tx) (err error) {
		made, err = k.insertDeclared(tx, asked, event)
		return err
	})
	if err != nil {
		return reply{}, k.explain(err)
	}
	return k.created(made), nil
}

// put makes a resource what the body says, whether or not it is there.
func (k kindAPI[Spec, Status]) put(r *http.Request, by store.AdminToken) (reply, error) {
	name := r.PathValue("name")
	asked, err := k.readDeclaration(r, name)
	if err != nil {
		return reply{}, err
	}
	event := k.event(r, by, name)
	var now declared[Spec, Status]
	var fresh bool
	err = k.a.store.Write(r.Context(), func(tx *store.Tx) error {
		old, err := k.show(tx.Queries, name, event.At)
		fresh = errors.Is(err, store.ErrNotFound) && k.insert != nil
		switch {
		case fresh:
			if err := errors.Join(checkConditions(r, ""), checkName(name)); err != nil {
				return err
			}
			now, err = k.insertDeclared(tx, asked, event)
			return err
		case err != nil:
			return err
		}
		now, err = k.updateDeclared(tx, r, old, asked.Spec, event)
		return err
	})
	switch {
	case err != nil:
		return reply{}, k.explain(err)
	case fresh:
		return k.created(now), nil
	}
	return now.reply(http.StatusOK), nil
}

// patch changes the members of the spec that the body names (RFC 7396).
func (k kindAPI[Spec, Status]) patch(r *http.Request, by store.AdminToken) (reply, error) {
	name := r.PathValue("name")
	change, err := k.readRaw(r, name)
	if err != nil {
		return reply{}, err
	}
	event := k.event(r, by, name)
	var now declared[Spec, Status]
	err = k.a.store.Write(r.Context(), func(tx *store.Tx) error {
		old, err := k.show(tx.Queries, name, event.At)
		if err != nil {
			return err
		}
		spec, err := merged(old.Spec, change.Spec)
		if err != nil {
			return badRequest(`member "spec": %s`, err)
		}
		now, err = k.updateDeclared(tx, r, old, spec, event)
		return err
	})
	if err != nil {
		return reply{}, k.explain(err)
	}
	return now.reply(http.StatusOK), nil
}

func (k kindAPI[Spec, Status]) delete(r *http.Request, by store.AdminToken) (reply, error) {
	name := r.PathValue("name")
	event := k.event(r, by, name)
	event.Kind = k.noun + ".delete"
	err := k.a.store.Write(r.Context(), func(tx *store.Tx) error {
		old, err := k.show(tx.Queries, name, event.At)
		if err != nil {
			return err
		}
		if err := checkConditions(r, etag(old.version)); err != nil {
			return err
		}
		return errors.Join(k.remove(tx, name), tx.AppendEvent(event))
	})
	if err != nil {
		return reply{}, k.explain(err)
	}
	return reply{status: http.StatusNoContent}, nil
}

func (k kindAPI[Spec, Status]) insertDeclared(tx *store.Tx, asked resource.Declaration[Spec], event store.Event) (made declared[Spec, Status], err error) {
	if err := k.check(&asked.Spec, nil, event.At); err != nil {
		return made, err
	}
	secrets, err := k.insert(tx, asked.Name, asked.Spec, event.At)
	if err != nil {
		return made, err
	}
	if made, err = k.show(tx.Queries, asked.Name, event.At); err != nil {
		return made, err
	}
	made.Ticket, made.Token = secrets.ticket, secrets.token
	event.Kind = k.noun + ".create"
	return made, tx.AppendEvent(event)
}

// updateDeclared changes nothing, and records nothing, where the spec is as before.
func (k kindAPI[Spec, Status]) updateDeclared(tx *store.Tx, r *http.Request, old declared[Spec, Status], spec Spec, event store.Event) (declared[Spec, Status], error) {
	if err := checkConditions(r, etag(old.version)); err != nil {
		return old, err
	}
	if err := k.check(&spec, &old.Spec, event.At); err != nil {
		return old, err
	}
	changed, err := changedMembers(old.Spec, spec)
	if err != nil || len(changed) == 0 {
		return old, err
	}
	if err := k.update(tx, old.Name, spec, event.At); err != nil {
		return old, err
	}
	now, err := k.show(tx.Queries, old.Name, event.At)
	if err != nil {
		return old, err
	}
	event.Kind, event.Reason = k.noun+".change", "changed "+strings.Join(changed, ", ")
	return now, tx.AppendEvent(event)
}

// readDeclaration reads the body of POST, and with a name that of PUT.
func (k kindAPI[Spec, Status]) readDeclaration(r *http.Request, name string) (asked resource.Declaration[Spec], err error) {
	raw, err := k.readRaw(r, name)
	if err != nil {
		return asked, err
	}
	if err := strictjson.Unmarshal(raw.Spec, &asked.Spec); err != nil {
		return asked, badRequest(`member "spec": %s`, err)
	}
	asked.Kind, asked.Name = raw.Kind, cmp.Or(name, raw.Name)
	return asked, nil
}

// readRaw reads a body with a spec, which is not looked into. A spec left out is not
// taken for an empty one: by PUT that would undo all that was decided before.
func (k kindAPI[Spec, Status]) readRaw(r *http.Request, name string) (asked resource.Declaration[json.RawMessage], err error) {
	if err := readJSON(r, &asked, maxAdminBytes, false); err != nil {
		return asked, err
	}
	if asked.Spec == nil {
		return asked, badRequest(`member "spec" is missing`)
	}
	return asked, k.checkHead(asked.Kind, asked.Name, name)
}

func (k kindAPI[Spec, Status]) checkHead(kind, name, of string) error {
	if kind != "" && kind != k.name {
		return badRequest("kind is not %s", k.name)
	}
	if name != "" && of != "" && name != of {
		return badRequest("name is that of something else")
	}
	return nil
}

func (k kindAPI[Spec, Status]) event(r *http.Request, by store.AdminToken, name string) store.Event {
	event := k.a.event(r, "")
	event.Allowed, event.AdminID = true, by.ID
	k.mark(&event, name)
	return event
}

func (k kindAPI[Spec, Status]) created(made declared[Spec, Status]) reply {
	answer := made.reply(http.StatusCreated)
	answer.header["Location"] = k.a.config.URL + k.path + "/" + url.PathEscape(made.Name)
	return answer
}

func (k kindAPI[Spec, Status]) explain(err error) error {
	noun := strings.ReplaceAll(k.noun, "_", " ")
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &refusal{status: http.StatusNotFound, message: "no such " + noun}
	case errors.Is(err, store.ErrDuplicate):
		return &refusal{status: http.StatusConflict, message: "another " + noun + " has that name already"}
	case errors.Is(err, store.ErrInUse):
		return &refusal{status: http.StatusConflict, message: "something else still refers to the " + noun}
	}
	return err
}

func (d declared[Spec, Status]) reply(status int) reply {
	return reply{status: status, body: d.Object, header: map[string]string{"ETag": etag(d.version)}}
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// checkConditions compares If-Match and If-None-Match (RFC 9110 §13.1) with the
// entity tag of what is there, "" for nothing. One that cannot be read is refused: who
// sent it did not mean to change whatever is there.
func checkConditions(r *http.Request, tag string) error {
	match, err := condition(r, "If-Match")
	if err != nil {
		return err
	}
	noneMatch, err := condition(r, "If-None-Match")
	if err != nil {
		return err
	}
	if match != "" && !matches(match, tag) {
		return &refusal{status: http.StatusPreconditionFailed, message: "it was changed or removed meanwhile; read it again"}
	}
	if noneMatch != "" && matches(noneMatch, tag) {
		return &refusal{status: http.StatusPreconditionFailed, message: "it is there already"}
	}
	return nil
}

// conditionForm is what the value of If-Match and If-None-Match looks like.
var conditionForm = regexp.MustCompile(`^(\*|(W/)?"[^"]*"([ \t]*,[ \t]*(W/)?"[^"]*")*)$`)

// condition returns the value of a conditional field, "" where there is none.
func condition(r *http.Request, field string) (string, error) {
	values := r.Header.Values(field)
	value := strings.Join(values, ",")
	if len(values) > 0 && !conditionForm.MatchString(value) {
		return "", badRequest(`%s is not * or entity tags like "1"`, field)
	}
	return value, nil
}

func matches(condition, tag string) bool {
	if condition == "*" {
		return tag != ""
	}
	for candidate := range strings.SplitSeq(condition, ",") {
		if strings.TrimSpace(candidate) == tag && tag != "" {
			return true
		}
	}
	return false
}

// chosenName is what names that administrators choose look like.
var chosenName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

func checkName(name string) error {
	if !chosenName.MatchString(name) {
		return badRequest("name is not 1 to 63 lower-case letters, digits, dots and hyphens, with a letter or digit at either end")
	}
	return nil
}
