package store

import (
	"errors"
	"fmt"
)

// SettingOrInsert returns the setting of that name; if there is none yet it
// stores value and returns that.
func (tx *Tx) SettingOrInsert(name, value string) (string, error) {
	var stored string
	err := tx.row([]any{&stored}, "SELECT value FROM settings WHERE name = $1", name)
	if errors.Is(err, ErrNotFound) {
		return value, tx.exec("INSERT INTO settings (name, value) VALUES ($1, $2)", name, value)
	}
	if err != nil {
		return "", fmt.Errorf("read setting %s: %w", name, err)
	}
	return stored, nil
}
