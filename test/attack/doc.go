// Package attack tries to get the token of one program onto the requests of
// another, as local users without any right: the real agent, a victim at a hundred
// connections a second, strangers that want its ports, and a server that records
// whose token came with which request, and so is the judge.
//
// It must not know how the product keeps them apart. One switch inside it is
// touched, by which the kernel refuses connections that strangers make to the
// injector: with it off, what stands behind it is attacked.
package attack
