// What the page uses of ECharts; CONTRIBUTING, "Change the explorer", says how echarts.js is made of it.
export { format, graphic, init } from "echarts/core";
import { use } from "echarts/core";
import { BarChart, CustomChart, HeatmapChart, LineChart, ScatterChart } from "echarts/charts";
import { GridComponent, LegendPlainComponent, MarkLineComponent, TitleComponent, TooltipComponent, VisualMapContinuousComponent } from "echarts/components";
import { CanvasRenderer, SVGRenderer } from "echarts/renderers";

use([
  BarChart, CustomChart, HeatmapChart, LineChart, ScatterChart, GridComponent, LegendPlainComponent, MarkLineComponent, TitleComponent,
  TooltipComponent, VisualMapContinuousComponent, CanvasRenderer, SVGRenderer,
]);
