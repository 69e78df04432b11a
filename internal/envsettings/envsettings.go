package envsettings

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Read fills the struct that settings points to, and the structs in it, from the
// environment and the tags' defaults. A variable that is set to nothing is not set.
// The error names every variable whose value is not of the field's type.
func Read(environment map[string]string, settings any) error {
	set := map[string]string{}
	for name, value := range environment {
		if value != "" {
			set[name] = value
		}
	}
	err := parse(set, settings)
	if err == nil {
		return nil
	}
	if wrong := wrong(set, reflect.TypeOf(settings).Elem()); len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	return err
}

func parse(environment map[string]string, settings any) error {
	return env.ParseWithOptions(settings, env.Options{Environment: environment})
}

// wrong finds the variables that cannot be read, each by itself: the library's error
// has the name of the field only, which no user knows.
func wrong(environment map[string]string, settings reflect.Type) (all []error) {
	for _, name := range variables(settings) {
		value, isSet := environment[name]
		if !isSet {
			continue
		}
		err := parse(map[string]string{name: value}, reflect.New(settings).Interface())
		var field env.ParseError
		if errors.As(err, &field) {
			all = append(all, fmt.Errorf("%s: %w", name, field.Err))
		}
	}
	return all
}

func variables(settings reflect.Type) (names []string) {
	for field := range settings.Fields() {
		if field.Type.Kind() == reflect.Struct {
			names = append(names, variables(field.Type)...)
		} else if name, _, _ := strings.Cut(field.Tag.Get("env"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}
