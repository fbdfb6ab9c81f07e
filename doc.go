// Package stepup is the root of a local relay between Vault clients and Vault
// that notices when Vault wants a second factor, asks the person, completes the
// exchange and hands the app the answer it wanted. It holds no code of its own,
// only the tests that keep the architecture: ARCHITECTURE.md says what each
// package is and who may import whom, and the program is in cmd/stepup.
package stepup
