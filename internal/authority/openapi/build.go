package openapi

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/goccy/go-yaml"
)

//go:embed *.yaml kinds/*.yaml
var sources embed.FS

// Config says what is served, and where.
type Config struct {
	URL     string // the authority's base, without a slash at its end
	Issuer  string // below which OpenID discovery is served; "" means that it is not
	Version string // of the product
	Kinds   []Kind
}

// Build returns the document, in JSON. Where requests go to it knows from the
// configuration only. An error means that the sources do not fit what is served.
func Build(config Config) ([]byte, error) {
	base, err := url.Parse(config.URL)
	if err != nil {
		return nil, fmt.Errorf("build OpenAPI document: %w", err)
	}
	document, err := readSource("base.yaml")
	if err != nil {
		return nil, err
	}
	document["servers"] = servers(config.URL)
	document["info"].(map[string]any)["version"] = config.Version
	parts := []struct{ file, server string }{
		{"document.yaml", config.URL},
		{"operator.yaml", config.URL},
		{"admin.yaml", config.URL},
		{"service.yaml", base.Scheme + "://" + base.Host},
		{"discovery.yaml", strings.TrimRight(config.Issuer, "/")},
	}
	for _, part := range parts {
		if part.server == "" {
			continue
		}
		add, err := readSource(part.file)
		if err != nil {
			return nil, err
		}
		if part.server != config.URL {
			serveAt(part.server, add)
		}
		if err := merge(document, add); err != nil {
			return nil, fmt.Errorf("add %s to OpenAPI document: %w", part.file, err)
		}
	}
	for _, kind := range config.Kinds {
		add, err := kind.describe()
		if err != nil {
			return nil, fmt.Errorf("describe kind %s: %w", kind.Name, err)
		}
		if err := merge(document, add); err != nil {
			return nil, fmt.Errorf("add kind %s to OpenAPI document: %w", kind.Name, err)
		}
	}
	text, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("write OpenAPI document: %w", err)
	}
	return text, nil
}

func readSource(name string) (map[string]any, error) {
	text, err := sources.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read source: %w", err)
	}
	return parse(name, text)
}

func parse(name string, text []byte) (map[string]any, error) {
	part := map[string]any{}
	if err := yaml.Unmarshal(text, &part); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return part, nil
}

func servers(url string) []any { return []any{map[string]any{"url": url}} }

// serveAt says of each path of the part that it is below another server.
func serveAt(url string, part map[string]any) {
	for _, path := range part["paths"].(map[string]any) {
		path.(map[string]any)["servers"] = servers(url)
	}
}

// merge adds what stands in from. Lists are joined; nothing is replaced.
func merge(into, from map[string]any) error {
	for name, value := range from {
		before, there := into[name]
		if !there {
			into[name] = value
			continue
		}
		switch before := before.(type) {
		case map[string]any:
			inner, ok := value.(map[string]any)
			if !ok {
				return fmt.Errorf("%s is an object and something else", name)
			}
			if err := merge(before, inner); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		case []any:
			more, ok := value.([]any)
			if !ok {
				return fmt.Errorf("%s is a list and something else", name)
			}
			into[name] = append(before, more...)
		default:
			return fmt.Errorf("%s stands there twice", name)
		}
	}
	return nil
}
