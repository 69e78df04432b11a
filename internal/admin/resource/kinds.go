package resource

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
)

// KindInfo says how a kind is called, where it is served, and what of it a table
// shows.
type KindInfo struct {
	Kind    string   // as in a declaration
	Path    string   // below the authority's base
	Columns []string // members of spec or status, like "status.state"
}

// Kinds are all kinds of resource, by name.
func Kinds() []KindInfo {
	return []KindInfo{
		{KindAdminToken, AdminTokensPath, []string{"spec.role", "spec.expires_at", "status.created_at", "spec.description"}},
		{KindNetworkList, NetworkListsPath, []string{"spec.cidrs", "spec.description"}},
		{KindSigningKey, SigningKeysPath, []string{"status.state", "status.algorithm", "status.created_at", "status.activated_at", "status.rotates_at"}},
		{KindSecret, SecretsPath, []string{"status.state", "spec.tags", "spec.expires_at", "status.updated_at", "spec.description"}},
		{KindTicket, TicketsPath, []string{"status.state", "spec.role", "status.uses", "spec.expires_at", "spec.tags", "spec.description"}},
		{KindTicketFactory, TicketFactoriesPath, []string{"spec.status", "spec.minting", "spec.orchestrators", "status.minted", "status.created_at", "spec.description"}},
		{KindWorkload, WorkloadsPath, []string{"spec.status", "status.refused_by", "status.role", "status.ticket", "status.tags", "status.last_contact_at"}},
	}
}

// Plural is the kind as it stands in its path, and on a command line.
func (k KindInfo) Plural() string { return path.Base(k.Path) }

// FindKind returns the kind that a word of a command line means: the name of the
// kind, or its plural, in any case, with or without hyphens.
func FindKind(word string) (KindInfo, bool) {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", "")) }
	all := Kinds()
	i := slices.IndexFunc(all, func(k KindInfo) bool {
		return plain(word) == plain(k.Kind) || plain(word) == plain(k.Plural())
	})
	if i < 0 {
		return KindInfo{}, false
	}
	return all[i], true
}

// Any is a resource of a kind that its reader need not know.
type Any = Object[json.RawMessage, json.RawMessage]
