package keyring

import "fmt"

// SealSecret encrypts the content of the secret of that name. Moved to another row
// it does not open.
func (b *Box) SealSecret(name, content string) string {
	return b.seal([]byte(content), secretPurpose(name))
}

// OpenSecret decrypts what SealSecret made.
func (b *Box) OpenSecret(name, sealed string) (string, error) {
	content, err := b.open(sealed, secretPurpose(name))
	if err != nil {
		return "", fmt.Errorf("open secret %s: %w", name, err)
	}
	return string(content), nil
}

func secretPurpose(name string) string { return "lanyard secret " + name }
