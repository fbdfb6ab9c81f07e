// Vault-client-go reads STEPUP_PATHS with HashiCorp's generated library, all at once,
// and prints their different values. Without a token in VAULT_TOKEN it logs in first.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/vault-client-go"
	"github.com/hashicorp/vault-client-go/schema"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	client, err := vault.New(vault.WithEnvironment())
	if err != nil {
		return err
	}
	if os.Getenv("VAULT_TOKEN") == "" {
		request := schema.UserpassLoginRequest{Password: os.Getenv("STEPUP_PASSWORD")}
		login, err := client.Auth.UserpassLogin(ctx, os.Getenv("STEPUP_USER"), request)
		if err != nil {
			return err
		}
		if err := client.SetToken(login.Auth.ClientToken); err != nil {
			return err
		}
	}
	paths := strings.Fields(os.Getenv("STEPUP_PATHS"))
	values, errs := make([]string, len(paths)), make([]error, len(paths))
	var all sync.WaitGroup
	for i, path := range paths {
		all.Go(func() {
			key := strings.TrimPrefix(path, "secret/data/")
			secret, err := client.Secrets.KvV2Read(ctx, key, vault.WithMountPath("secret"))
			if errs[i] = err; err == nil {
				values[i] = fmt.Sprint(secret.Data.Data["key"])
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	slices.Sort(values)
	fmt.Print(strings.Join(slices.Compact(values), "\n"))
	return nil
}
