package store

import (
	"errors"
	"fmt"
)

// SettingOrInsert returns the setting of that name; if there is none yet it
// stores value and returns that.
func (tx *Tx) SettingOrInsert(name, value string) (string, error) {
	stored, err := tx.Setting(name)
	if errors.Is(err, ErrNotFound) {
		return value, tx.exec("INSERT INTO settings (name, value) VALUES ($1, $2)", name, value)
	}
	return stored, err
}

// Setting returns the setting of that name, or ErrNotFound.
func (q Queries) Setting(name string) (string, error) {
	var value string
	if err := q.row([]any{&value}, "SELECT value FROM settings WHERE name = $1", name); err != nil {
		return "", fmt.Errorf("read setting %s: %w", name, err)
	}
	return value, nil
}

// SetSetting stores the setting of that name, whether or not there is one.
func (tx *Tx) SetSetting(name, value string) error {
	return tx.exec("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
}
