//go:build linux

package agent

// loadConfig reads the configuration file and logs what an administrator should
// know about it.
func (a *Agent) loadConfig() (*Config, error) {
	config, warnings, err := LoadConfig(a.settings.Config, a.accounts)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		a.log.Warn("configuration", "at", w.Place.String(), "reason", w.Reason)
	}
	return config, nil
}

// sourceSettings joins what the configuration says of an identity's source with
// what the process was told.
func (a *Agent) sourceSettings(config *Config) map[string]sourceSettings {
	all := make(map[string]sourceSettings, len(config.Operators))
	for identity, operator := range config.Operators {
		all[identity] = sourceSettings{
			base:          a.settings.OperatorBase,
			ticketFile:    operator.TicketFile,
			stateDir:      identityDir(a.settings.StateDir, identity),
			caFile:        a.settings.CAFile,
			issuer:        a.settings.Issuer,
			allowInsecure: operator.AllowInsecure,
		}
	}
	return all
}
