// Package bank moves money between accounts.
package bank

import (
	"database/sql"
	"errors"
	"fmt"
)

var ErrFunds = errors.New("not enough funds")

type Bank struct {
	db *sql.DB
}

func (b *Bank) balance(account int64) (int64, error) {
	var cents int64
	err := b.db.QueryRow("SELECT cents FROM accounts WHERE id = $1", account).Scan(&cents)
	return cents, err
}

// Withdraw takes money out if there is enough.
func (b *Bank) Withdraw(account, cents int64) error {
	have, err := b.balance(account)
	if err != nil {
		return err
	}
	if have < cents {
		return ErrFunds
	}
	_, err = b.db.Exec("UPDATE accounts SET cents = $1 WHERE id = $2", have-cents, account)
	return err
}

// Transfer moves money from one account to another.
func (b *Bank) Transfer(from, to, cents int64) error {
	if cents <= 0 {
		return fmt.Errorf("transfer of %d", cents)
	}
	if err := b.Withdraw(from, cents); err != nil {
		return err
	}
	_, err := b.db.Exec("UPDATE accounts SET cents = cents + $1 WHERE id = $2", cents, to)
	return err
}

// Freeze stops all movements of an account.
func (b *Bank) Freeze(account int64) error {
	done, err := b.db.Exec("UPDATE accounts SET frozen = true WHERE id = $1", account)
	if err != nil {
		return err
	}
	if count, err := done.RowsAffected(); err != nil || count != 1 {
		return fmt.Errorf("freeze %d: %d rows, %w", account, count, err)
	}
	return nil
}
