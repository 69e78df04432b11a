package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"

	"github.com/lanyardhq/lanyard/internal/privatefile"
)

// boxKeyBytes is the length of an AES-256 key.
const boxKeyBytes = 32

// sealedPrefix names the construction, so that another can follow it.
const sealedPrefix = "a256gcm."

// Box seals private keys for storage: AES-256-GCM with a random nonce, which it
// puts in front. It is immutable.
type Box struct {
	aead cipher.AEAD
}

// NewBox makes a Box from 32 bytes in base64 (standard alphabet, padded).
func NewBox(key string) (*Box, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(key)
	if err != nil || len(raw) != boxKeyBytes {
		return nil, fmt.Errorf("read key-encryption key: not %d bytes in base64; make one with: head -c %d /dev/urandom | base64",
			boxKeyBytes, boxKeyBytes)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, fmt.Errorf("read key-encryption key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("read key-encryption key: %w", err)
	}
	return &Box{aead: aead}, nil
}

// OpenBox makes a Box from the key in the file.
func OpenBox(path string) (*Box, error) {
	key, err := privatefile.ReadGivenSecret(path)
	if err != nil {
		return nil, fmt.Errorf("read key-encryption key: %w", err)
	}
	return NewBox(key)
}

// OpenOrMakeBox is OpenBox, but makes the file where it is missing, if mayMake;
// otherwise what it once sealed would be lost silently.
func OpenOrMakeBox(path string, mayMake bool) (*Box, error) {
	box, err := OpenBox(path)
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return box, err
	case !mayMake:
		return nil, fmt.Errorf("read key-encryption key: %s is missing, and the database holds signing keys sealed under it; restore the file from a backup", path)
	}
	raw := make([]byte, boxKeyBytes)
	if _, err := rand.Read(raw); err != nil {
		return nil, fmt.Errorf("make key-encryption key: %w", err)
	}
	key := base64.StdEncoding.EncodeToString(raw)
	if err := privatefile.Create(path, key); err != nil {
		return nil, err
	}
	return NewBox(key)
}

// seal encrypts data. What it is for is bound to it, but not kept with it.
func (b *Box) seal(data []byte, purpose string) string {
	return sealedPrefix + base64.RawStdEncoding.EncodeToString(b.aead.Seal(nil, nil, data, []byte(purpose)))
}

// open decrypts what seal made for the same purpose.
func (b *Box) open(sealed, purpose string) ([]byte, error) {
	if len(sealed) < len(sealedPrefix) || sealed[:len(sealedPrefix)] != sealedPrefix {
		return nil, errors.New("open sealed key: unknown construction; was it sealed by a newer program?")
	}
	raw, err := base64.RawStdEncoding.DecodeString(sealed[len(sealedPrefix):])
	if err != nil {
		return nil, errors.New("open sealed key: not base64; the database is damaged")
	}
	data, err := b.aead.Open(nil, nil, raw, []byte(purpose))
	if err != nil {
		return nil, errors.New("open sealed key: the key-encryption key is not the one it was sealed under, or the database was changed")
	}
	return data, nil
}
