import { createBrowserRouter } from "react-router";
import { Frame } from "./components/Frame";
import { Broken, NotFound, ToProject } from "./components/Gates";
import { basePath } from "./paths";
import { SignInPage } from "./pages/session/SignInPage";

type Module = Record<string, unknown>;
const page = (load: () => Promise<Module>, name: string) => async () => ({ Component: (await load())[name] as React.ComponentType });

export const router = createBrowserRouter([
  {
    errorElement: <Broken />,
    // Nothing to show for the moment before the first page's part has come.
    hydrateFallbackElement: <></>,
    children: [
      { path: "/sign-in", element: <SignInPage /> },
      { path: "/", element: <ToProject /> },
      {
        path: "/p/:project",
        element: <Frame />,
        children: [
          {
            errorElement: <Broken />,
            children: [
              { index: true, lazy: page(() => import("./pages/home/HomePage"), "HomePage") },
              { path: "datasets", lazy: page(() => import("./pages/datasets/DatasetsPage"), "DatasetsPage") },
              { path: "datasets/:name", lazy: page(() => import("./pages/datasets/DatasetPage"), "DatasetPage") },
              { path: "datasets/:name/items/:item", lazy: page(() => import("./pages/datasets/ItemPage"), "ItemPage") },
              { path: "jobs", lazy: page(() => import("./pages/jobs/JobsPage"), "JobsPage") },
              { path: "jobs/:id", lazy: page(() => import("./pages/jobs/JobPage"), "JobPage") },
              { path: "runs", lazy: page(() => import("./pages/runs/RunsPage"), "RunsPage") },
              { path: "runs/compare", lazy: page(() => import("./pages/runs/ComparePage"), "ComparePage") },
              { path: "runs/:id", lazy: page(() => import("./pages/runs/RunPage"), "RunPage") },
              { path: "models", lazy: page(() => import("./pages/models/ModelsPage"), "ModelsPage") },
              { path: "models/:name", lazy: page(() => import("./pages/models/ModelPage"), "ModelPage") },
              { path: "endpoints", lazy: page(() => import("./pages/endpoints/EndpointsPage"), "EndpointsPage") },
              { path: "endpoints/:name", lazy: page(() => import("./pages/endpoints/EndpointPage"), "EndpointPage") },
              { path: "access", lazy: page(() => import("./pages/access/AccessPage"), "AccessPage") },
              { path: "*", element: <NotFound /> },
            ],
          },
        ],
      },
      { path: "*", element: <NotFound /> },
    ],
  },
], { basename: basePath || "/" });
