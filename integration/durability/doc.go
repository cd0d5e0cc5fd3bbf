// Package durability ends writers in the middle of their work, with SIGKILL or
// with the power of their disk, and looks for every record that they had reported
// as durable.
package durability
