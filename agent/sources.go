package agent

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/token/operator"
)

// identitiesDir holds one folder for each identity, in the state folder: its
// private key and its enrolment.
const identitiesDir = "identities"

// sourceSettings is what makes an identity's source another one. It is
// comparable: an unchanged source keeps its client, and with it its warm tokens.
type sourceSettings struct {
	base          string
	ticketFile    string
	stateDir      string
	caFile        string
	issuer        string
	allowInsecure bool
}

type enrolledSource struct {
	settings sourceSettings
	client   *operator.Client
}

// sourceSet is the token sources of one configuration, by name of identity.
type sourceSet map[string]enrolledSource

// nextSources makes the sources of a new configuration out of those of the
// current one. Nothing is opened yet; drop what the new set does not keep with
// closeDropped once nothing uses it.
func nextSources(now sourceSet, want map[string]sourceSettings) (sourceSet, error) {
	next := make(sourceSet, len(want))
	for name, settings := range want {
		if old, ok := now[name]; ok && old.settings == settings {
			next[name] = old
			continue
		}
		client, err := operator.New(operator.Config{
			Base:          settings.base,
			StateDir:      settings.stateDir,
			TicketFile:    settings.ticketFile,
			AllowInsecure: settings.allowInsecure,
			CAFile:        settings.caFile,
			Issuer:        settings.issuer,
		})
		if err != nil {
			return nil, fmt.Errorf("identity %s: %w", name, err)
		}
		next[name] = enrolledSource{settings: settings, client: client}
	}
	return next, nil
}

// closeDropped closes the sources that next does not keep.
func (s sourceSet) closeDropped(next sourceSet) error {
	var errs []error
	for name, source := range s {
		if kept, ok := next[name]; !ok || kept.client != source.client {
			errs = append(errs, source.client.Close())
		}
	}
	return errors.Join(errs...)
}

// forCache returns the sources as the token cache wants them.
func (s sourceSet) forCache() map[string]token.Source {
	sources := make(map[string]token.Source, len(s))
	for name, source := range s {
		sources[name] = source.client
	}
	return sources
}

func identityDir(stateDir, identity string) string {
	return filepath.Join(stateDir, identitiesDir, identity)
}

// MayBeEnrolled reports whether an identity has an enrolment in the agent's state
// folder, as far as we may see into it.
func MayBeEnrolled(stateDir, identity string) bool {
	return operator.MayBeEnrolled(identityDir(stateDir, identity))
}
