import type { Artifact } from "./index.js";

/** An artifact could not be read or stored. */
export class ArtifactError extends Error {}
/** All bytes of an artifact. */
export function read(artifact: Artifact): Uint8Array;
/** Store bytes under a plain file name. */
export function store(name: string, bytes: Uint8Array, mediaType?: string): Artifact;
