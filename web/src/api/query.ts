// The one cache of what the server said.
import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";
import { ApiError } from "./client";

const ME = ["me"];

export function makeClient(): QueryClient {
  // Whoever is told that the session has ended looks at who is signed in; the frame then leads to the sign-in page.
  const failed = (error: unknown) => {
    if (error instanceof ApiError && error.kind === "unauthenticated") void client.invalidateQueries({ queryKey: ME, exact: true });
  };
  const client: QueryClient = new QueryClient({
    queryCache: new QueryCache({ onError: (error, query) => (query.queryKey.length === 1 && query.queryKey[0] === ME[0] ? undefined : failed(error)) }),
    mutationCache: new MutationCache({ onError: failed }),
    defaultOptions: {
      queries: {
        staleTime: 10_000,
        refetchOnWindowFocus: false,
        // A refusal does not become a yes by asking again; a server that is away may come back.
        retry: (count, error) => count < 2 && error instanceof ApiError && (error.kind === "unavailable" || error.kind === "unreachable"),
      },
    },
  });
  return client;
}
