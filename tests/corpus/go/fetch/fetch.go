// Package fetch downloads documents.
package fetch

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

var client = &http.Client{Timeout: 20 * time.Second}

type Meta struct {
	Title string `json:"title"`
	Pages int    `json:"pages"`
}

// Document returns the bytes behind an address.
func Document(address string) ([]byte, error) {
	answer, err := client.Get(address)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", address, err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: status %d", address, answer.StatusCode)
	}
	return io.ReadAll(answer.Body)
}

// ReadMeta reads the description that lies beside a document.
func ReadMeta(path string) (Meta, error) {
	var meta Meta
	data, err := os.ReadFile(path)
	if err != nil {
		return meta, err
	}
	json.Unmarshal(data, &meta)
	return meta, nil
}

// All downloads every address and reports the first failure.
func All(addresses []string) error {
	failures := make(chan error)
	for _, address := range addresses {
		go func() {
			_, err := Document(address)
			failures <- err
		}()
	}
	for range addresses {
		if err := <-failures; err != nil {
			return err
		}
	}
	return nil
}
