// Package cache keeps answers for a while.
package cache

import (
	"sync"
	"time"
)

type entry struct {
	value   string
	expires time.Time
}

// Cache is safe for use by several goroutines.
type Cache struct {
	mu      sync.RWMutex
	entries map[string]entry
	hits    int
}

func New() *Cache {
	return &Cache{entries: make(map[string]entry)}
}

// Get returns the value of a key that has not expired.
func (c *Cache) Get(key string) (string, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	found, ok := c.entries[key]
	if !ok || time.Now().After(found.expires) {
		return "", false
	}
	c.hits++
	return found.value, true
}

func (c *Cache) Set(key, value string, ttl time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[key] = entry{value: value, expires: time.Now().Add(ttl)}
}

// Fill gets a value from load unless it is there.
func (c *Cache) Fill(key string, load func() (string, error)) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if value, ok := c.Get(key); ok {
		return value, nil
	}
	value, err := load()
	if err == nil {
		c.entries[key] = entry{value: value, expires: time.Now().Add(time.Minute)}
	}
	return value, err
}
